#pragma once

// Shared memory by addresses, and fragments of 8×8 matrices of 16-bit elements out of it (sm_75).
// For those, lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned) and receives
// of each matrix the elements (g, 2c), (g, 2c + 1), g = l / 4, c = l % 4; transposed, (2c, g) and
// (2c + 1, g).

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

// Of a matrix as lanes receive it, its transpose.
__device__ __forceinline__ uint32_t transposed_matrix(uint32_t matrix) {
  uint32_t transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(matrix));
  return transposed;
}

// 16 bytes, aligned, in the order of the thread's other accesses.
__device__ __forceinline__ void store_shared_16(uint32_t address, const uint4& words) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(words.x),
               "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

__device__ __forceinline__ void store_shared_4(uint32_t address, uint32_t word) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(word) : "memory");
}

__device__ __forceinline__ void store_shared_8(uint32_t address, uint32_t word0, uint32_t word1) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(address), "r"(word0), "r"(word1)
               : "memory");
}

__device__ __forceinline__ uint4 load_shared_16(uint32_t address) {
  uint4 words;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "r"(address)
               : "memory");
  return words;
}

// One word, where 32-bit elements are to be transposed.
__device__ __forceinline__ uint32_t load_shared_word(uint32_t address) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

// Rows of kColumns 16-bit elements (a multiple of 32) without gaps, whose 16-byte chunks are
// exchanged so that the same chunk of eight consecutive rows lies in different banks: the offset in
// bytes of chunk `chunk` of row `row` from the row's start, in a tile aligned to 128 bytes.
template <int kColumns>
__device__ __forceinline__ constexpr uint32_t swizzled_chunk(uint32_t row, uint32_t chunk) {
  static_assert(kColumns % 32 == 0);
  // Where rows are an odd number of 64 bytes, two of them fill the banks.
  return (kColumns % 64 == 0 ? chunk ^ (row % 8) : chunk ^ (row / 2 % 4)) * 16;
}

// The same from the tile's start.
template <int kColumns>
__device__ __forceinline__ constexpr uint32_t swizzled_offset(uint32_t row, uint32_t chunk) {
  return row * (2 * kColumns) + swizzled_chunk<kColumns>(row, chunk);
}

}  // namespace strobe
