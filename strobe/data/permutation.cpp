#include "strobe/data/permutation.h"

#include <bit>

#include "strobe/core/check.h"

namespace strobe {

Permutation::Permutation(int64_t size, PhiloxKey key)
    : size_(static_cast<uint64_t>(size)), key_(key) {
  check(size >= 1, "a permutation of ", size, " elements, at least 1");
  half_bits_ = (std::bit_width(size_ - 1) + 1) / 2;
}

uint64_t Permutation::encrypt(uint64_t value) const {
  constexpr uint32_t rounds = 8;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_, right = value & mask;
  for (uint32_t round = 0; round < rounds; ++round) {
    const PhiloxWords words = philox(
        {{static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32), round, 0}}, key_);
    const uint64_t next = left ^ (words.word[0] & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

int64_t Permutation::at(int64_t place) const {
  check(place >= 0 && static_cast<uint64_t>(place) < size_, "place ", place,
        " of a permutation of ", size_);
  uint64_t value = encrypt(static_cast<uint64_t>(place));
  while (value >= size_) value = encrypt(value);
  return static_cast<int64_t>(value);
}

}  // namespace strobe
