// Copies of matrices in the form that multiply_panel reads. All are panels of kPanelWidth columns,
// [columns/kPanelWidth][rows][kPanelWidth] units, padded with zeros; `rows` is a multiple that the
// caller chooses. A source row outside [valid_begin, valid_end) is packed as zeros and never read,
// so nothing that lies in padding can reach a product.
#pragma once

#include "strobe/ops/attention/cpu/flash_panel.h"

namespace strobe::STROBE_ISA {

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Rows of a tensor, and which of them are real.
template <class T>
struct SourceRows {
  const T* data;
  int64_t stride;
  int valid_begin, valid_end;
};

// `count` units (at most kLanes) of a row from unit `first`, the rest 0.
template <class Format>
STROBE_INLINE F32 load_units(const typename Format::Element* row, int first, int count) {
  const auto* p = row + first * Format::kPerUnit;
  if constexpr (Format::kPerUnit == 1) {
    return count >= kLanes ? load(p) : load_partial(p, count);
  } else {
    if (count >= kLanes) {
      F32 x;
      std::memcpy(&x, p, sizeof(x));
      return x;
    }
    F32 x{};
    std::memcpy(&x, p, count * 4);
    return x;
  }
}

STROBE_INLINE int clamp_to_lanes(int n) { return n < 0 ? 0 : n > kLanes ? kLanes : n; }

// Rows with the contraction along the columns: panels over `columns`/kPerUnit units. As A by rows;
// for f32 also as B with the contraction along the rows.
template <class Format>
void pack_rows(SourceRows<typename Format::Element> source, int rows, int columns, float* to) {
  const int units = columns / Format::kPerUnit;
  for (int first = 0; first < units; first += kPanelWidth) {
    for (int r = 0; r < rows; ++r, to += kPanelWidth) {
      const auto* row = source.data + r * source.stride;
      const int left = source.valid_begin <= r && r < source.valid_end ? units - first : 0;
      STROBE_UNROLL
      for (int v = 0; v < kPanelVectors; ++v) {
        const int count = left - v * kLanes;
        const F32 x = count >= kLanes ? load_units<Format>(row, first + v * kLanes, kLanes)
                      : count > 0     ? load_units<Format>(row, first + v * kLanes, count)
                                      : zero();
        store(to + v * kLanes, x);
      }
    }
  }
}

// Units of two bf16 from two rows that bf16 holds exactly: `even` in the lower half.
STROBE_INLINE F32 interleave_pair(F32 even, F32 odd) {
  return bit_cast_to<F32>(bit_cast_to<U32>(even) >> 16 | bit_cast_to<U32>(odd));
}

#if defined(__AVX512BF16__)
// The same for any values, which are rounded.
STROBE_INLINE F32 round_pair(F32 even, F32 odd) {
  const __m512i halves = bit_cast_to<__m512i>(
      _mm512_cvtne2ps_pbh(bit_cast_to<__m512>(odd), bit_cast_to<__m512>(even)));
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return bit_cast_to<F32>(_mm512_permutexvar_epi16(order, halves));
}
#endif

// Rows with the contraction along the rows: panels [rows/kPerUnit][kPanelWidth] over the columns.
// As B.
template <class Format>
void pack_contracted_rows(SourceRows<typename Format::Element> source, int rows, int columns,
                          float* to) {
  if constexpr (Format::kPerUnit == 1) {
    pack_rows<Format>(source, rows, columns, to);
  } else {
    const auto load_row = [&](int r, int column, int count) {
      const bool valid = source.valid_begin <= r && r < source.valid_end && count > 0;
      const auto* p = source.data + r * source.stride + column;
      return !valid ? zero() : count == kLanes ? load(p) : load_partial(p, count);
    };
    for (int first = 0; first < columns; first += kPanelWidth) {
      for (int r = 0; r < rows; r += 2, to += kPanelWidth) {
        for (int v = 0; v < kPanelVectors; ++v) {
          const int column = first + v * kLanes, count = clamp_to_lanes(columns - column);
          store(to + v * kLanes,
                interleave_pair(load_row(r, column, count), load_row(r + 1, column, count)));
        }
      }
    }
  }
}

// Transposes kLanes × kLanes units: rounds of a perfect shuffle of the two halves.
struct Interleaved {
  F32 low, high;  // a0 b0 a1 b1 …: the first and the second half
};
STROBE_INLINE Interleaved interleave(F32 a, F32 b) {
#if defined(__AVX512F__)
  const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 x = bit_cast_to<__m512>(a), y = bit_cast_to<__m512>(b);
  return {bit_cast_to<F32>(_mm512_permutex2var_ps(x, low, y)),
          bit_cast_to<F32>(_mm512_permutex2var_ps(x, high, y))};
#elif defined(__AVX2__)
  const __m256 x = bit_cast_to<__m256>(a), y = bit_cast_to<__m256>(b);
  const __m256 even = _mm256_unpacklo_ps(x, y), odd = _mm256_unpackhi_ps(x, y);
  return {bit_cast_to<F32>(_mm256_permute2f128_ps(even, odd, 0x20)),
          bit_cast_to<F32>(_mm256_permute2f128_ps(even, odd, 0x31))};
#else
  Interleaved y;
  for (int i = 0; i < kLanes / 2; ++i) {
    y.low[2 * i] = a[i];
    y.low[2 * i + 1] = b[i];
    y.high[2 * i] = a[i + kLanes / 2];
    y.high[2 * i + 1] = b[i + kLanes / 2];
  }
  return y;
#endif
}
STROBE_INLINE void transpose(F32 (&x)[kLanes]) {
  for (int round = 1; round < kLanes; round *= 2) {
    F32 y[kLanes];
    STROBE_UNROLL
    for (int i = 0; i < kLanes / 2; ++i) {
      const Interleaved pair = interleave(x[i], x[i + kLanes / 2]);
      y[2 * i] = pair.low;
      y[2 * i + 1] = pair.high;
    }
    STROBE_UNROLL
    for (int i = 0; i < kLanes; ++i) x[i] = y[i];
  }
}

// The transpose, with the contraction along the source's columns: panels [units][kPanelWidth] over
// the source's rows; `rows` is a multiple of kPanelWidth. As B.
template <class Format>
void pack_transposed(SourceRows<typename Format::Element> source, int rows, int columns,
                     float* to) {
  const int units = columns / Format::kPerUnit;
  for (int first_row = 0; first_row < rows; first_row += kLanes) {
    float* panel =
        to + first_row / kPanelWidth * kPanelWidth * int64_t{units} + first_row % kPanelWidth;
    for (int unit = 0; unit < units; unit += kLanes) {
      const int count = clamp_to_lanes(units - unit);
      F32 x[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int r = first_row + i;
        const bool valid = source.valid_begin <= r && r < source.valid_end;
        x[i] = valid ? load_units<Format>(source.data + r * source.stride, unit, count) : zero();
      }
      transpose(x);
      for (int i = 0; i < count; ++i) store(panel + int64_t{unit + i} * kPanelWidth, x[i]);
    }
  }
}

}  // namespace strobe::STROBE_ISA
