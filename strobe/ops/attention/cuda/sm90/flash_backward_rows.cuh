#pragma once

// Sums that lie in accumulators to rows in global memory.

#include <cstdint>

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"

namespace strobe {

// Of four lanes side by side, lane c has word[j] = element c of row j; afterwards element j of row
// c.
__device__ __forceinline__ void transpose_quad(uint32_t (&word)[4]) {
  const bool is_odd = threadIdx.x % 2 != 0, is_high = threadIdx.x / 2 % 2 != 0;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t received = __shfl_xor_sync(kFullWarp, is_odd ? word[j] : word[j + 1], 1);
    const uint32_t kept = is_odd ? word[j + 1] : word[j];
    word[j] = is_odd ? received : kept;
    word[j + 1] = is_odd ? kept : received;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t received = __shfl_xor_sync(kFullWarp, is_high ? word[j] : word[j + 2], 2);
    const uint32_t kept = is_high ? word[j + 2] : word[j];
    word[j] = is_high ? received : kept;
    word[j + 2] = is_high ? kept : received;
  }
}

// Where a warp's 16 rows of an output begin, and how much of them is there.
template <class T>
struct OutputRows {
  T* first;        // row 0, column 0
  int64_t stride;  // elements from one row to the next
  int rows;        // those from here on are not written
  int columns;     // those from here on are not written, a multiple of 8

  // Columns [column, column + 32) of the warp's accumulators, times `factor`: pair(j, half) are the
  // registers 4j + 2·half and the next. Every lane stores 16 bytes of two rows.
  template <class Pair>
  __device__ __forceinline__ void store(const Pair& pair, int column, float factor) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    column += lane % 4 * 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t word[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 both = pair(j, half);
        word[j] = pack<T>(both.x * factor, both.y * factor);
      }
      store(word, lane / 4 + 8 * half, column);
    }
  }

  // Of row `row`, the same of four lanes side by side, 32 columns: lane c gives words c of four
  // chunks of 8 columns, and stores chunk c, which is at `column`.
  __device__ __forceinline__ void store(uint32_t (&word)[4], int row, int column) const {
    transpose_quad(word);
    if (row < rows && column < columns) {
      *reinterpret_cast<uint4*>(first + row * stride + column) =
          uint4{word[0], word[1], word[2], word[3]};
    }
  }
};

}  // namespace strobe
