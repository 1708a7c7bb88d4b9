// The register-blocked product that all matrix products of flash attention are made of.
//
// Operands lie in "units" of 4 bytes along the contraction: one f32, or two bf16 (PairUnits). B is
// a panel [contraction][kPanelWidth] of units; a row of it is kPanelVectors registers. A is read
// unit by unit and broadcast: by rows (row stride fixed at compile time, contraction contiguous) or
// by columns (rows contiguous, any stride along the contraction).
#pragma once

#include "strobe/simd/vec.h"

#if defined(__clang__)
#define STROBE_UNROLL _Pragma("unroll")
#else
#define STROBE_UNROLL _Pragma("GCC unroll 32")
#endif

namespace strobe::STROBE_ISA {

// Accumulators, a row of B and one broadcast fill the registers: 12·2 + 2 + 1 of 32 with AVX-512,
// 6·2 + 2 + 1 of 16 before.
#if defined(__AVX512F__)
constexpr int kPanelRows = 12;
#else
constexpr int kPanelRows = 6;
#endif
constexpr int kPanelVectors = 2;
constexpr int kPanelWidth = kPanelVectors * kLanes;

// How units are multiplied.
struct F32Units {
  using Product = float;  // the type of what is multiplied
  static constexpr int kPerUnit = 1;
  static STROBE_INLINE F32 dot(F32 a, F32 b, F32 sum) { return fma(a, b, sum); }
};

#if defined(__AVX512BF16__)
// Pairs of bf16 that are neighbours along the contraction; products are exact, sums are f32.
struct PairUnits {
  using Product = bf16;
  static constexpr int kPerUnit = 2;
  static STROBE_INLINE F32 dot(F32 a, F32 b, F32 sum) {
    return bit_cast_to<F32>(_mm512_dpbf16_ps(bit_cast_to<__m512>(sum), bit_cast_to<__m512bh>(a),
                                             bit_cast_to<__m512bh>(b)));
  }
};
#endif

// Tensors of T whose elements are packed into Units: bf16 is widened for F32Units.
template <class T, class U>
struct TensorFormat {
  using Element = T;
  using Units = U;
  using Product = typename U::Product;
  static constexpr int kPerUnit = U::kPerUnit;
};
template <class T>
using F32Format = TensorFormat<T, F32Units>;
#if defined(__AVX512BF16__)
using PairFormat = TensorFormat<bf16, PairUnits>;
#endif

// The unit at p in all lanes, bit for bit.
STROBE_INLINE F32 broadcast_unit(const float* p) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_set1_ps(*p));
#elif defined(__AVX2__)
  return bit_cast_to<F32>(_mm256_broadcast_ss(p));
#else
  return broadcast(*p);
#endif
}

// A by rows: unit k of row r at data[r·kRowStride + k] for k < segment, and each further `segment`
// units `segment_step` behind the ones before.
template <int kRowStride>
struct RowOperand {
  const float* data;
  int64_t segment;
  int64_t segment_step;
};

// A by columns: unit k of row r at data[k·stride + r].
struct ColumnOperand {
  const float* data;
  int64_t stride;
};

using PanelSums = F32[kPanelRows][kPanelVectors];

template <class Units>
STROBE_INLINE void add_products(PanelSums& sums, const float* a, int64_t row_stride,
                                const float* b) {
  F32 row[kPanelVectors];
  STROBE_UNROLL
  for (int v = 0; v < kPanelVectors; ++v) row[v] = load(b + v * kLanes);
  STROBE_UNROLL
  for (int r = 0; r < kPanelRows; ++r) {
    const F32 x = broadcast_unit(a + r * row_stride);
    STROBE_UNROLL
    for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = Units::dot(x, row[v], sums[r][v]);
  }
}

// Two steps along the contraction at a time: every contraction has an even number of units.
template <class Units, int kRowStride>
STROBE_INLINE void add_all_products(PanelSums& sums, RowOperand<kRowStride> a, const float* b,
                                    int64_t units) {
  while (units > 0) {
    const int64_t n = units < a.segment ? units : a.segment;
    for (int64_t k = 0; k < n; k += 2) {
      add_products<Units>(sums, a.data + k, kRowStride, b);
      add_products<Units>(sums, a.data + k + 1, kRowStride, b + kPanelWidth);
      b += 2 * kPanelWidth;
    }
    a.data += a.segment_step;
    units -= n;
  }
}
template <class Units>
STROBE_INLINE void add_all_products(PanelSums& sums, ColumnOperand a, const float* b,
                                    int64_t units) {
  for (int64_t k = 0; k < units; k += 2) {
    add_products<Units>(sums, a.data, 1, b);
    add_products<Units>(sums, a.data + a.stride, 1, b + kPanelWidth);
    a.data += 2 * a.stride;
    b += 2 * kPanelWidth;
  }
}

// C[r][column] = or += Σ over `units` of A·B, for kPanelRows × kPanelWidth elements.
template <class Units, bool kAccumulate, class Operand>
__attribute__((noinline)) void multiply_panel(Operand a, const float* b, int64_t units, float* c,
                                              int64_t c_stride) {
  PanelSums sums;
  STROBE_UNROLL
  for (int r = 0; r < kPanelRows; ++r) {
    STROBE_UNROLL
    for (int v = 0; v < kPanelVectors; ++v) {
      sums[r][v] = kAccumulate ? load(c + r * c_stride + v * kLanes) : zero();
    }
  }
  add_all_products<Units>(sums, a, b, units);
  STROBE_UNROLL
  for (int r = 0; r < kPanelRows; ++r) {
    STROBE_UNROLL
    for (int v = 0; v < kPanelVectors; ++v) store(c + r * c_stride + v * kLanes, sums[r][v]);
  }
}

}  // namespace strobe::STROBE_ISA
