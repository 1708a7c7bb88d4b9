#pragma once

#include <cstdint>

namespace strobe {

// Four bytes out of the eight of `low` and `high`: nibble i of `selector` numbers byte i of the
// result; with kTopBit added, its eight bits are all the top bit of that byte.
constexpr uint32_t kTopBit = 8;
__device__ __forceinline__ uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(selector));
  return bytes;
}

}  // namespace strobe
