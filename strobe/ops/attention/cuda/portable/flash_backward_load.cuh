#pragma once

// Rows of q, k, v, dout from global to shared memory.

#include <cstdint>

#include "strobe/gpu/cp_async.cuh"
#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/tile_table.h"

namespace strobe {

// The rows of one head of one sequence in global memory.
template <class T>
struct SequenceRows {
  T* first;        // position 0
  int64_t stride;  // elements from one position to the next
  bool is_aligned;

  static __device__ SequenceRows of(const BthdView<T>& view, int batch, int first_row, int head) {
    return {view.row(batch, first_row, head), view.time_stride, view.has_aligned_rows};
  }
};

// 16 bytes that may begin anywhere.
template <class T>
__device__ __forceinline__ uint4 load_elements(const T* from) {
  constexpr int kCount = 16 / sizeof(T);
  union {
    uint4 all;
    T element[kCount];
  } bytes;
#pragma unroll
  for (int i = 0; i < kCount; ++i) bytes.element[i] = from[i];
  return bytes.all;
}

// The positions [first, first + kRows) into a SharedTile<T, kHeadDim>; zeros where a position is
// outside [begin, end), and behind head_dim. All kThreads of the block take part; what they have
// asked for is there after the copies are waited for and a barrier.
template <class T, int kHeadDim, int kRows, int kThreads, PortableArch kArch>
__device__ __forceinline__ void load_rows(unsigned char* tile, const SequenceRows<const T>& rows,
                                          int first, int begin, int end, int head_dim) {
  constexpr int kChunkElements = 16 / sizeof(T);
  constexpr int kChunks = kHeadDim / kChunkElements;
  constexpr int kRowElements = kHeadDim * sizeof(T) / 2;
  constexpr int kRowThreads = kChunks % 8 == 0 ? 8 : 4;
  constexpr int kRowStep = kThreads / kRowThreads;
  const int thread_row = static_cast<int>(threadIdx.x) / kRowThreads;
  const int thread_chunk = static_cast<int>(threadIdx.x) % kRowThreads;
  const T* from = rows.first + (first + thread_row) * rows.stride + thread_chunk * kChunkElements;
  const int chunks = head_dim / kChunkElements;
  if constexpr (kArch != PortableArch::sm75) {
    if (rows.is_aligned) {
      static_assert(kRows % kRowStep == 0 || kRowStep % kRows == 0);
      static_assert(kRowStep % 8 == 0);  // so that the swizzle is that of the first row
      const uint32_t to =
          shared_address(tile) + swizzled_offset<kRowElements>(thread_row, thread_chunk);
#pragma unroll
      for (int row = 0; row < kRows; row += kRowStep) {
        const int position = first + thread_row + row;
        if (kRowStep > kRows && thread_row >= kRows) break;
        const bool is_row = position >= begin && position < end;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; chunk += kRowThreads) {
          cp_async_16(to + row * (2 * kRowElements) + chunk * 16, from + chunk * kChunkElements,
                      is_row && thread_chunk + chunk < chunks);
        }
        from += kRowStep * rows.stride;
      }
      return;
    }
  }
#pragma unroll 1
  for (int row = thread_row; row < kRows; row += kRowStep) {
    const int position = first + row;
#pragma unroll 1
    for (int chunk = thread_chunk; chunk < kChunks; chunk += kRowThreads) {
      uint4 bytes = {0, 0, 0, 0};
      if (position >= begin && position < end && chunk < chunks) {
        const T* elements = rows.first + position * rows.stride + chunk * kChunkElements;
        bytes =
            rows.is_aligned ? *reinterpret_cast<const uint4*>(elements) : load_elements(elements);
      }
      *reinterpret_cast<uint4*>(tile + swizzled_offset<kRowElements>(row, chunk)) = bytes;
    }
  }
}

// The other way: the positions [first, min(first + kRows, end)).
template <class T, int kHeadDim, int kRows, int kThreads>
__device__ __forceinline__ void store_rows(const SequenceRows<T>& rows, const unsigned char* tile,
                                           int first, int end, int head_dim) {
  constexpr int kChunkElements = 16 / sizeof(T);
  constexpr int kChunks = kHeadDim / kChunkElements;
  constexpr int kRowElements = kHeadDim * sizeof(T) / 2;
  const int chunks = head_dim / kChunkElements;
#pragma unroll 1
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    if (first + row >= end || chunk >= chunks) continue;
    const uint4 bytes =
        *reinterpret_cast<const uint4*>(tile + swizzled_offset<kRowElements>(row, chunk));
    T* to = rows.first + (first + row) * rows.stride + chunk * kChunkElements;
    if (rows.is_aligned) {
      *reinterpret_cast<uint4*>(to) = bytes;
    } else {
      const T* elements = reinterpret_cast<const T*>(&bytes);
#pragma unroll
      for (int e = 0; e < kChunkElements; ++e) to[e] = elements[e];
    }
  }
}

}  // namespace strobe
