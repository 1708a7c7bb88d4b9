#pragma once

#include <cstdint>

#include "strobe/core/random.h"

namespace strobe {

// A random order of 0 … size − 1 that needs no memory: any place of it can be asked for at once, so
// a shuffled epoch of a huge text starts immediately and continues anywhere. A Feistel network of
// Philox rounds on the next power of four, walked until it lands inside (Black & Rogaway, "Ciphers
// with arbitrary finite domains", 2002).
class Permutation {
 public:
  Permutation(int64_t size, PhiloxKey key);  // size ≥ 1

  int64_t at(int64_t place) const;  // place in [0, size)

 private:
  uint64_t encrypt(uint64_t value) const;

  uint64_t size_;
  PhiloxKey key_;
  int half_bits_;
};

}  // namespace strobe
