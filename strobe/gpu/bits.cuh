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

// Bit by bit, the function of three bits whose value for (a, b, c) is bit 4a + 2b + c of the table.
constexpr int kExclusiveOr = 0x96, kMajority = 0xe8;
template <int kTable>
__device__ __forceinline__ uint32_t combine_bits(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t bits;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(bits) : "r"(a), "r"(b), "r"(c), "n"(kTable));
  return bits;
}

}  // namespace strobe
