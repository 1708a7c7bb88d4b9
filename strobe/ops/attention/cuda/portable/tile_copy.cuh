#pragma once

// Tiles of rows between global and shared memory, for blocks of any number of threads.

#include <cstdint>

#include "strobe/gpu/cp_async.cuh"
#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// The rows of one head of one sequence.
template <class T>
struct HeadRows {
  T* data;  // row 0 of the sequence
  int64_t stride;
  bool has_aligned_rows;
};

template <class T>
__device__ HeadRows<T> head_rows(const BthdView<T>& view, int batch, int first_row, int head) {
  return {view.row(batch, first_row, head), view.time_stride, view.has_aligned_rows};
}

// Eight elements of any alignment.
template <class T>
__device__ inline uint4 load_unaligned(const T* from) {
  const auto* bits = reinterpret_cast<const uint16_t*>(from);
  const auto pair = [&](int i) { return bits[i] | static_cast<uint32_t>(bits[i + 1]) << 16; };
  return {pair(0), pair(2), pair(4), pair(6)};
}

template <class T>
__device__ inline void store_unaligned(T* to, const uint4& elements) {
  auto* bits = reinterpret_cast<uint16_t*>(to);
  const auto pair = [&](int i, uint32_t word) {
    bits[i] = static_cast<uint16_t>(word);
    bits[i + 1] = static_cast<uint16_t>(word >> 16);
  };
  pair(0, elements.x);
  pair(2, elements.y);
  pair(4, elements.z);
  pair(6, elements.w);
}

// Rows [first, first + kRows) of a head, kColumns 16-bit elements each, into shared memory as
// swizzled_offset() lays them out. Rows outside `inside` and columns from `columns` on (a multiple
// of 8) become zeros and are not read. With kIsAsync, through cp.async: commit and wait for it.
template <int kRows, int kColumns, int kThreads, bool kIsAsync, class T>
__device__ __forceinline__ void load_tile(uint32_t shared, const HeadRows<const T>& from, int first,
                                          int inside_begin, int inside_end, int columns) {
  constexpr int kChunks = kColumns / 8;
  constexpr int kThreadsPerRow = kChunks % 8 == 0 ? 8 : 4;
  constexpr int kRowStep = kThreads / kThreadsPerRow;
  static_assert(kRows % kRowStep == 0 && kChunks % kThreadsPerRow == 0);
  const int thread_row = static_cast<int>(threadIdx.x) / kThreadsPerRow;
  const int thread_chunk = static_cast<int>(threadIdx.x) % kThreadsPerRow;
  const T* source = from.data + static_cast<int64_t>(first + thread_row) * from.stride;
  if (kIsAsync && from.has_aligned_rows) {
#pragma unroll
    for (int r = 0; r < kRows; r += kRowStep) {
      const int row = thread_row + r;
      const bool is_row = first + row >= inside_begin && first + row < inside_end;
#pragma unroll
      for (int c = 0; c < kChunks; c += kThreadsPerRow) {
        const int chunk = thread_chunk + c;
        cp_async_16(shared + swizzled_offset<kColumns>(row, chunk), source + chunk * 8,
                    is_row && chunk * 8 < columns);
      }
      source += kRowStep * from.stride;
    }
    return;
  }
#pragma unroll 1
  for (int r = 0; r < kRows; r += kRowStep) {
    const int row = thread_row + r;
    const bool is_row = first + row >= inside_begin && first + row < inside_end;
#pragma unroll 1
    for (int chunk = thread_chunk; chunk < kChunks; chunk += kThreadsPerRow) {
      uint4 elements = {};
      if (is_row && chunk * 8 < columns) {
        elements = from.has_aligned_rows ? *reinterpret_cast<const uint4*>(source + chunk * 8)
                                         : load_unaligned(source + chunk * 8);
      }
      store_shared_16(shared + swizzled_offset<kColumns>(row, chunk), elements);
    }
    source += kRowStep * from.stride;
  }
}

// The rows [first, first + kRows) of a head from a warp's rows of shared memory, from `shared_row`
// on, laid out as load_tile() does. Rows from `rows` on and columns from `columns` on are left out.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void store_rows(uint32_t shared, int shared_row, const HeadRows<T>& to,
                                           int first, int rows, int columns) {
  constexpr int kThreadsPerRow = kColumns % 64 == 0 ? 8 : 4;
  constexpr int kRowStep = kWarpSize / kThreadsPerRow;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int r = 0; r < kRows; r += kRowStep) {
    const int row = r + lane / kThreadsPerRow;
    if (first + row >= rows) continue;
    T* target = to.data + static_cast<int64_t>(first + row) * to.stride;
#pragma unroll
    for (int c = 0; c < kColumns / 8; c += kThreadsPerRow) {
      const int chunk = c + lane % kThreadsPerRow;
      if (chunk * 8 >= columns) continue;
      const uint4 elements =
          load_shared_16(shared + swizzled_offset<kColumns>(shared_row + row, chunk));
      if (to.has_aligned_rows) {
        *reinterpret_cast<uint4*>(target + chunk * 8) = elements;
      } else {
        store_unaligned(target + chunk * 8, elements);
      }
    }
  }
}

// Multiplies `bytes` of 16-bit floating elements by −1 or 0.
template <int kThreads>
__device__ inline void negate_or_clear(uint32_t shared, int bytes, bool is_zero) {
  for (int at = static_cast<int>(threadIdx.x) * 16; at < bytes; at += kThreads * 16) {
    constexpr uint32_t kSigns = 0x80008000u;
    uint4 words = load_shared_16(shared + at);
    words = is_zero ? uint4{}
                    : uint4{words.x ^ kSigns, words.y ^ kSigns, words.z ^ kSigns, words.w ^ kSigns};
    store_shared_16(shared + at, words);
  }
}

}  // namespace strobe
