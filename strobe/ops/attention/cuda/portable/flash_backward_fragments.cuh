#pragma once

// The matrix products of a warp in flash backward, written once for all types: a tile in shared
// memory, 16×16 pieces of it in registers, and what multiplies them.
//
//   f16, bf16   m16n8k16 on tensor cores (sm_80); f16 in two halves of m16n8k8 (sm_75)
//   f32         three products of tf32, big·big + big·small + small·big, summed in f32 outside the
//               tensor core, which truncates its sums (sm_80); FMA with shuffled operands (sm_75)

#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/mma.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/portable/tile_table.h"

namespace strobe {

// An operand's 16 summed indices by 16 rows (left) or columns (right). As left operand, 16-bit: the
// words of mma's A; f32: four words for the summed indices 0 to 7, four for 8 to 15. As right one,
// 16-bit: words 2t, 2t + 1 are columns 8t to 8t + 7; f32: words 4s + 2t, 4s + 2t + 1 are those
// columns of the summed indices 8s to 8s + 7.
template <class T>
struct Fragment {
  uint32_t word[2 * sizeof(T)];
};

// How fragments lie in a tile: element [m][k] of a left one at [m][k] or transposed at [k][m], from
// the row and column where the fragment begins; element [k][n] of a right one at [n][k], or
// transposed at [k][n].
enum class Operand : unsigned char { left, left_transposed, right, right_transposed };

// Rows of kColumns elements in shared memory, swizzled, from an address aligned to 128 bytes.
template <class T, int kColumns>
struct SharedTile {
  static constexpr int kRowBytes = kColumns * sizeof(T);

  uint32_t address;
};

// [perf] Hides where an address comes from: all that follow from it in a loop would be computed
// ahead of it otherwise, and fill the registers.
__device__ __forceinline__ uint32_t opaque(uint32_t address) {
  asm volatile("" : "+r"(address));
  return address;
}

// Reads a tile's fragments, which begin at multiples of 16 rows and columns. What a lane adds to
// their addresses is computed once, when the reader is made; from there an exclusive or and a
// constant lead to each fragment.
template <class T, int kColumns, Operand kOperand>
class FragmentReader {
 public:
  using Tile = SharedTile<T, kColumns>;

  __device__ explicit FragmentReader(const Tile& tile) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    if constexpr (kWords) {
      // f32: rows 2c and 2c + 1 are what an accumulator's two columns are, so products with an
      // accumulator as left operand sum in that order; column g.
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        start_[i] = start(tile, lane % 4 * 2 + i, lane / 4 / 4) + lane / 4 % 4 * 4;
      }
    } else if (kOperand == Operand::left || kOperand == Operand::right_transposed) {
      start_[0] = start(tile, lane % 16, lane / 16);
    } else {
      start_[0] = start(tile, lane % 8 + lane / 16 * 8, lane / 8 % 2);
    }
  }

  __device__ __forceinline__ Fragment<T> operator()(int row, int column) const {
    Fragment<T> fragment;
    if constexpr (kWords) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int which = kOperand == Operand::right_transposed ? i % 2 : i / 2 % 2;
        const int chunk = kOperand == Operand::right_transposed ? i / 2 % 2 : i % 2;
        fragment.word[i] = load_shared_word(at(which, row + i / 4 * 8, column / 4 + 2 * chunk));
      }
    } else if constexpr (kIsTransposed) {
      ldmatrix_x4_transposed(fragment.word, at(0, row, column / 8));
    } else if constexpr (sizeof(T) == 2) {
      ldmatrix_x4(fragment.word, at(0, row, column / 8));
    } else {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        uint32_t half[4];
        ldmatrix_x4(half, at(0, row, column / 4 + 2 * step));
#pragma unroll
        for (int i = 0; i < 4; ++i) fragment.word[4 * step + i] = half[i];
      }
    }
    return fragment;
  }

 private:
  static constexpr bool kIsTransposed =
      kOperand == Operand::left_transposed || kOperand == Operand::right_transposed;
  static constexpr bool kWords = kIsTransposed && sizeof(T) == 4;     // ldmatrix transposes 16 bits
  static constexpr int kPeriod = Tile::kRowBytes % 128 == 0 ? 8 : 4;  // chunks that are exchanged

  static __device__ uint32_t start(const Tile& tile, int row, int chunk) {
    return opaque(tile.address + swizzled_offset<Tile::kRowBytes / 2>(row, chunk));
  }

  // `row` is a multiple of 8, `chunk` is even.
  __device__ uint32_t at(int which, int row, int chunk) const {
    return (start_[which] ^ (chunk % kPeriod * 16)) + row * Tile::kRowBytes +
           chunk / kPeriod * (kPeriod * 16);
  }

  uint32_t start_[kWords ? 2 : 1];
};

// Two neighbouring accumulators as left operand: 16 rows, 16 summed columns.
template <class T>
__device__ __forceinline__ Fragment<T> to_left(const float (&low)[4], const float (&high)[4]) {
  Fragment<T> left;
  if constexpr (sizeof(T) == 2) {
    left.word[0] = pack<T>(low[0], low[1]);
    left.word[1] = pack<T>(low[2], low[3]);
    left.word[2] = pack<T>(high[0], high[1]);
    left.word[3] = pack<T>(high[2], high[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int element = i % 2 * 2 + i / 2;  // (g, 2c), (g + 8, 2c), (g, 2c + 1), (g + 8, 2c + 1)
      left.word[i] = __float_as_uint(low[element]);
      left.word[4 + i] = __float_as_uint(high[element]);
    }
  }
  return left;
}

// Writes accumulators into a tile, rounded to T.
template <class T, int kColumns>
class AccumulatorWriter {
 public:
  __device__ explicit AccumulatorWriter(const SharedTile<T, kColumns>& tile) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, column = lane % 4 * 2;
    start_ = opaque(tile.address + swizzled_offset<kRowBytes / 2>(lane / 4, column / kChunk) +
                    column % kChunk * sizeof(T));
  }

  // At a row and a column that are multiples of 8.
  __device__ __forceinline__ void operator()(int row, int column, const float (&sum)[4],
                                             float factor = 1) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float low = sum[2 * half] * factor, high = sum[2 * half + 1] * factor;
      if constexpr (sizeof(T) == 2) {
        store_shared_4(at(row + 8 * half, column), pack<T>(low, high));
      } else {
        store_shared_8(at(row + 8 * half, column), __float_as_uint(low), __float_as_uint(high));
      }
    }
  }

  // Two neighbouring accumulators, 16-bit, as to_left() packed them.
  __device__ __forceinline__ void write(int row, int column, const Fragment<T>& left) const {
    static_assert(sizeof(T) == 2);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_shared_4(at(row + i % 2 * 8, column + i / 2 * 8), left.word[i]);
    }
  }

 private:
  static constexpr int kRowBytes = kColumns * sizeof(T), kChunk = 16 / sizeof(T);
  static constexpr int kPeriod = kRowBytes % 128 == 0 ? 8 : 4;

  __device__ uint32_t at(int row, int column) const {
    const int chunk = column / kChunk;
    return (start_ ^ (chunk % kPeriod * 16)) + row * kRowBytes + chunk / kPeriod * (kPeriod * 16);
  }

  uint32_t start_;
};

// f32 as the sum of two tf32.
struct SplitWord {
  uint32_t big, small;
};
__device__ __forceinline__ SplitWord split_tf32(uint32_t word) {
  const uint32_t big = round_to_tf32(__uint_as_float(word));
  return {big, round_to_tf32(__uint_as_float(word) - __uint_as_float(big))};
}

// sum += left · right, 8 summed columns of f32, to f32's own accuracy.
__device__ __forceinline__ void multiply_tf32_split(float (&sum)[4], const uint32_t* left,
                                                    const uint32_t* right) {
  uint32_t big[4], small[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const SplitWord split = split_tf32(left[i]);
    big[i] = split.big;
    small[i] = split.small;
  }
  const SplitWord b0 = split_tf32(right[0]), b1 = split_tf32(right[1]);
  float part[4] = {};
  mma_m16n8k8_tf32(part, small, b0.big, b1.big);
  mma_m16n8k8_tf32(part, big, b0.small, b1.small);
  mma_m16n8k8_tf32(part, big, b0.big, b1.big);
#pragma unroll
  for (int i = 0; i < 4; ++i) sum[i] += part[i];
}

// The same on FMA: the lanes of a row and of a column pass their operands around.
__device__ __forceinline__ void multiply_fma(float (&sum)[4], const uint32_t* left,
                                             const uint32_t* right) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, row = lane / 4, column = lane % 4;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const int owner = k % 4, high = k / 4;
    const auto from = [](uint32_t word, int lane_of_word) {
      return __uint_as_float(__shfl_sync(kFullWarp, word, lane_of_word));
    };
    const float a0 = from(left[2 * high], row * 4 + owner);
    const float a1 = from(left[2 * high + 1], row * 4 + owner);
    const float b0 = from(right[high], column * 8 + owner);
    const float b1 = from(right[high], column * 8 + 4 + owner);
    sum[0] = fmaf(a0, b0, sum[0]);
    sum[1] = fmaf(a0, b1, sum[1]);
    sum[2] = fmaf(a1, b0, sum[2]);
    sum[3] = fmaf(a1, b1, sum[3]);
  }
}

// sums[0 and 1] += left · right, for the two column tiles of `right`.
template <class T, PortableArch kArch>
__device__ __forceinline__ void multiply(float (&sum0)[4], float (&sum1)[4],
                                         const Fragment<T>& left, const Fragment<T>& right) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const uint32_t *a = left.word + 4 * step, *b = right.word + 4 * step;
      if constexpr (kArch == PortableArch::sm80) {
        multiply_tf32_split(sum0, a, b);
        multiply_tf32_split(sum1, a, b + 2);
      } else {
        multiply_fma(sum0, a, b);
        multiply_fma(sum1, a, b + 2);
      }
    }
  } else if constexpr (kArch == PortableArch::sm80) {
    mma_m16n8k16<T>(sum0, left.word, right.word[0], right.word[1]);
    mma_m16n8k16<T>(sum1, left.word, right.word[2], right.word[3]);
  } else {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      mma_m16n8k8_f16(sum0, left.word[2 * step], left.word[2 * step + 1], right.word[step]);
      mma_m16n8k8_f16(sum1, left.word[2 * step], left.word[2 * step + 1], right.word[2 + step]);
    }
  }
}

}  // namespace strobe
