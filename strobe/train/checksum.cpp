#include "strobe/train/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "strobe/core/mapped_file.h"

namespace strobe {
namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F,
                   kPrime3 = 0x165667B19E3779F9, kPrime4 = 0x85EBCA77C2B2AE63,
                   kPrime5 = 0x27D4EB2F165667C5;

static_assert(std::endian::native == std::endian::little);

template <class T>
uint64_t word_at(const std::byte* bytes) {
  T word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

uint64_t round(uint64_t lane, uint64_t word) {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

// Four lanes take turns with the words, so that they run side by side.
struct Lanes {
  uint64_t lane[4] = {kPrime1 + kPrime2, kPrime2, 0, -kPrime1};

  // Whole groups of four words.
  void add(std::span<const std::byte> bytes) {
    for (size_t at = 0; at + 32 <= bytes.size(); at += 32) {
      for (size_t i = 0; i < 4; ++i) {
        lane[i] = round(lane[i], word_at<uint64_t>(&bytes[at + 8 * i]));
      }
    }
  }

  uint64_t merged() const {
    uint64_t hash = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) +
                    std::rotl(lane[3], 18);
    for (const uint64_t value : lane) hash = (hash ^ round(0, value)) * kPrime1 + kPrime4;
    return hash;
  }
};

// `tail`: the last bytes, less than four words.
uint64_t finish(const Lanes& lanes, std::span<const std::byte> tail, uint64_t size) {
  uint64_t hash = (size >= 32 ? lanes.merged() : kPrime5) + size;
  const std::byte* at = tail.data();
  const std::byte* end = at + tail.size();
  for (; end - at >= 8; at += 8) {
    hash = std::rotl(hash ^ round(0, word_at<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  }
  if (end - at >= 4) {
    hash = std::rotl(hash ^ word_at<uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; ++at) hash = std::rotl(hash ^ word_at<uint8_t>(at) * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes) {
  Lanes lanes;
  lanes.add(bytes);
  return finish(lanes, bytes.last(bytes.size() % 32), bytes.size());
}

uint64_t checksum_of_file(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  constexpr size_t kPiece = size_t{16} << 20;  // resident at a time
  Lanes lanes;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const auto piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
    lanes.add(piece);
    if (piece.size() == kPiece) release_pages(piece);
  }
  return finish(lanes, bytes.last(bytes.size() % 32), bytes.size());
}

}  // namespace strobe
