#pragma once

// Matrix products of one warp on tensor cores: accumulator += A·B, A [16, k], B [k, 8], f32 sums.
//
// A fragment is what each of the 32 lanes holds of a matrix. With g = lane / 4 and c = lane % 4:
//
//   accumulator [16, 8]   0, 1: (g, 2c), (g, 2c + 1)       2, 3: the same of row g + 8
//   A [16, 16], 16-bit    a register holds the columns 2c, 2c + 1 (low, high half) of
//                         0: row g   1: row g + 8   2: row g, columns + 8   3: row g + 8, the same
//   B [16, 8], 16-bit     a register holds the rows 2c, 2c + 1 of column g;  1: rows + 8
//   A [16, 8], tf32       0: (g, c)   1: (g + 8, c)   2: (g, c + 4)   3: (g + 8, c + 4)
//   B [8, 8], tf32        0: (c, g)   1: (c + 4, g)
//
// So two accumulators of neighbouring columns, rounded in pairs, are an A fragment as they lie.

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// T is f16 or bf16 (sm_80).
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1);

template <>
__device__ __forceinline__ void mma_m16n8k16<f16>(float (&sum)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void mma_m16n8k16<bf16>(float (&sum)[4], const uint32_t (&a)[4],
                                                   uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The f16 product of sm_75: half a step, the first (or last) two registers of A and one of B.
__device__ __forceinline__ void mma_m16n8k8_f16(float (&sum)[4], uint32_t a0, uint32_t a1,
                                                uint32_t b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(b));
}

// Reads the upper 19 bits of its operands (sm_80).
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&sum)[4], const uint32_t (&a)[4],
                                                 uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The nearest tf32, ties away from zero (sm_80).
__device__ __forceinline__ uint32_t round_to_tf32(float x) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}

}  // namespace strobe
