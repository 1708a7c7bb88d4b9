#pragma once

// Fragments of 8×8 matrices of 16-bit elements out of shared memory (sm_75). Lane l gives the
// address of row l % 8 of matrix l / 8 (16 bytes, aligned) and receives of each matrix the elements
// (g, 2c), (g, 2c + 1), g = l / 4, c = l % 4; transposed, (2c, g), (2c + 1, g).

#include <cstdint>

namespace strobe {

// What instructions call an address in shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(row_address)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&matrices)[4],
                                                       uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(row_address)
               : "memory");
}

// Rows of kColumns 16-bit elements (a multiple of 32) without gaps, whose 16-byte chunks are
// exchanged so that the same chunk of eight consecutive rows lies in different banks: the offset in
// bytes of chunk `chunk` of row `row`, from a start aligned to 128 bytes.
template <int kColumns>
__device__ __forceinline__ constexpr uint32_t swizzled_offset(uint32_t row, uint32_t chunk) {
  static_assert(kColumns % 32 == 0);
  if constexpr (kColumns % 64 == 0) {
    return row * (2 * kColumns) + ((chunk ^ (row % 8)) * 16);
  } else {  // an odd number of 64-byte pieces: two rows fill the banks
    return row * (2 * kColumns) + ((chunk ^ (row / 2 % 4)) * 16);
  }
}

}  // namespace strobe
