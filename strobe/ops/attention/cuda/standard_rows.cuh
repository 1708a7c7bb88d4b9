#pragma once

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/standard_params.h"

// What cuda_standard's two kernels over the scores share: which part of a row is visible, and how
// its elements are spread over threads.
namespace strobe {

// A row of scores. Columns are rows of k, packed or not; the keys that it sees are [begin, end).
struct ScoreRow {
  int begin, end;
  int query;              // its position in its sequence
  int first_key;          // the column of its sequence's key 0
  uint32_t dropout_head;  // what dropout takes as its head
};

template <class T>
__device__ ScoreRow score_row(const AttentionCall<T>& call, int batch, int head, int row) {
  int index = batch;
  if (call.is_packed()) {  // the last sequence that begins at or before `row`
    int above = call.sequences;
    for (index = 0; above - index > 1;) {
      const int middle = (index + above) / 2;
      (call.cu_seqlens_q[middle] <= row ? index : above) = middle;
    }
  }
  const AttentionDeviceSequence s = device_sequence(call, index);
  const Span keys = s.visibility.keys_of(row - s.first_q);
  const auto column = [&](int64_t key) {
    return static_cast<int>(min(max(s.first_k + key, int64_t{0}), int64_t{call.seq_k}));
  };
  return {.begin = column(keys.begin),
          .end = column(keys.end),
          .query = row - s.first_q,
          .first_key = s.first_k,
          .dropout_head = s.dropout_head + static_cast<uint32_t>(head)};
}

// kScoreVector neighbours at an address that is a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ void load_scores(const T* from, float (&x)[kScoreVector]) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int i = 0; i < kScoreVector; i += kWidth) {
    const WideVector<T> part = load_vector<T, kWidth>(from + i);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) x[i + e] = to_float(part.element[e]);
  }
}
template <class T>
__device__ __forceinline__ void store_scores(T* to, const float (&x)[kScoreVector]) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int i = 0; i < kScoreVector; i += kWidth) {
    WideVector<T> part;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) part.element[e] = from_float<T>(x[i + e]);
    store_vector(to + i, part);
  }
}

__device__ __forceinline__ bool sees_any(const ScoreRow& row, int column) {
  return column < row.end && column + kScoreVector > row.begin;
}
__device__ __forceinline__ bool sees_all(const ScoreRow& row, int column) {
  return row.begin <= column && column + kScoreVector <= row.end;
}

__device__ __forceinline__ void set_all(float (&x)[kScoreVector], float value) {
#pragma unroll
  for (int i = 0; i < kScoreVector; ++i) x[i] = value;
}
// The hidden elements of a vector to `value`.
__device__ __forceinline__ void set_hidden(const ScoreRow& row, int column, float value,
                                           float (&x)[kScoreVector]) {
#pragma unroll
  for (int i = 0; i < kScoreVector; ++i) {
    if (column + i < row.begin || column + i >= row.end) x[i] = value;
  }
}

// A row is held by kThreads threads, a warp or a block, kVectors vectors each; a longer one is
// taken in several tiles.
template <int kThreads_, int kVectors_>
struct RowLayout {
  static constexpr int kThreads = kThreads_, kVectors = kVectors_;
  static constexpr int kTile = kThreads * kVectors * kScoreVector;
  static constexpr int kBlock = kThreads == kWarpSize ? 4 * kWarpSize : kThreads;
  static constexpr int kRowsPerBlock = kBlock / kThreads;
  // Registers are budgeted for 20 warps on a multiprocessor. On an H100, that is faster than 16 by
  // up to a tenth, and than 24, where registers are spilled, by a little; not with 256 threads.
  static constexpr int kBlocksPerSm = kBlock < 256 ? 20 * kWarpSize / kBlock : 1;

  static __device__ int thread() { return static_cast<int>(threadIdx.x) % kThreads; }
  // The first column of vector `v` of this thread.
  static __device__ int column(int tile_begin, int v) {
    return tile_begin + (v * kThreads + thread()) * kScoreVector;
  }
  // The same of the first lane of its warp.
  static __device__ int warp_column(int tile_begin, int v) {
    return tile_begin + (v * kThreads + thread() / kWarpSize * kWarpSize) * kScoreVector;
  }
  // For all threads of the row; `scratch` is shared memory of its own for every place of call.
  template <class Operation>
  static __device__ float reduce(float x, float* scratch) {
    if constexpr (kThreads == kWarpSize) return reduce_warp<Operation>(x);
    return reduce_block<Operation, kThreads>(x, scratch);
  }
};

// Calls f(RowLayout{}) with the fewest threads that hold a row of `keys` scores in registers.
template <class F>
void with_row_layout(int64_t keys, F&& f) {
  if (keys <= RowLayout<32, 4>::kTile) return f(RowLayout<32, 4>{});
  if (keys <= RowLayout<64, 4>::kTile) return f(RowLayout<64, 4>{});
  if (keys <= RowLayout<128, 4>::kTile) return f(RowLayout<128, 4>{});
  if (keys <= RowLayout<256, 4>::kTile) return f(RowLayout<256, 4>{});
  f(RowLayout<512, 4>{});
}

}  // namespace strobe
