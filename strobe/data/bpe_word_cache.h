#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace strobe {

// The tokens of words that were met before: a text's few thousand frequent words are nearly all of
// it. One cache line an entry; a word takes the place that its hash says from whichever is there,
// so nothing ever grows or is searched. Words that are long, or many tokens, are not kept.
class BpeWordCache {
 public:
  static constexpr size_t kLongestWord = 31;
  static constexpr size_t kMostTokens = 7;

  // A word as what is compared: its bytes, zeros, its length.
  struct Key {
    std::array<uint64_t, 4> parts{};
    bool operator==(const Key&) const = default;
  };
  static Key key_of(std::string_view word) {  // 1 to kLongestWord bytes
    char bytes[32] = {};
    std::memcpy(bytes, word.data(), word.size());
    bytes[kLongestWord] = static_cast<char>(word.size());
    return {std::bit_cast<std::array<uint64_t, 4>>(bytes)};
  }

  // The word's tokens; none if it is not there.
  std::span<const int32_t> find(const Key& key) const {
    const Entry& entry = entries_[place_of(key)];
    return entry.key == key ? std::span(entry.tokens).first(entry.count) : std::span<int32_t>();
  }
  void keep(const Key& key, std::span<const int32_t> tokens) {
    if (tokens.size() > kMostTokens) return;
    Entry& entry = entries_[place_of(key)];
    entry.key = key;
    entry.count = static_cast<uint32_t>(tokens.size());
    std::memcpy(entry.tokens, tokens.data(), tokens.size_bytes());
  }

 private:
  struct alignas(64) Entry {
    Key key;
    uint32_t count = 0;
    int32_t tokens[kMostTokens] = {};
  };
  static constexpr int kPlaceBits = 16;  // 4 MiB

  static size_t place_of(const Key& key) {
    const uint64_t mixed = key.parts[0] * 0x9e3779b97f4a7c15u + key.parts[1] * 0xc2b2ae3d27d4eb4fu +
                           key.parts[2] * 0x165667b19e3779f9u + key.parts[3] * 0xd6e8feb86659fd93u;
    return (mixed ^ mixed >> 32) * 0xff51afd7ed558ccdu >> (64 - kPlaceBits);
  }

  std::vector<Entry> entries_ = std::vector<Entry>(size_t{1} << kPlaceBits);
};

}  // namespace strobe
