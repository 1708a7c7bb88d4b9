#pragma once

// Fragments of 8×8 matrices of 16-bit elements into shared memory (sm_90): the reverse of
// ldmatrix.cuh. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned) and of
// each matrix the elements (g, 2c), (g, 2c + 1), g = l / 4, c = l % 4; transposed, (2c, g) and
// (2c + 1, g). One PTX instruction a function.

#include <cstdint>

namespace strobe {

__device__ __forceinline__ void stmatrix_x4(uint32_t row_address, const uint32_t (&matrices)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address),
      "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
      : "memory");
}

__device__ __forceinline__ void stmatrix_x4_transposed(uint32_t row_address,
                                                       const uint32_t (&matrices)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address),
      "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
      : "memory");
}

}  // namespace strobe
