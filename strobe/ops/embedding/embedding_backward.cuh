// embedding_backward_begin_kernel, embedding_backward_segments_kernel,
// embedding_backward_runs_kernel
//
// Computes    dtable[id] += Σ_{i: ids[i] = id} Z∘dout[i]                                        (1)
//             dposition_table[p] (+)= Σ_b Z∘dout[b, p], where positions are counted             (2)
// Shapes      dout [rows, C]   dtable [R, C] f32   keys, order [rows]: the ids side by side with
//             their equals, and the rows that they come from   partials [segments, 2, C] f32
// Mapping     [1] some blocks group the ids (embedding_sort.cuh) while the others sum (2), which is
//             at the memory's pace  [2] one block sums kSegment grouped rows, whatever they are, so
//             that frequent ids cost no more than rare ones: it adds runs of one id that lie inside
//             to the table, and writes down what belongs to a run that it does not begin (the head)
//             or does not end (the tail)  [3] one block joins the parts of one such run
// Requires    with kWidth = 16 bytes of dout: rows of whole vectors at multiples of 16 bytes
// Numerics    f32, each sum in an order that ids and shape fix: no atomics
// Cost        reads dout twice, and reads and writes each of the table's rows that occur once
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/embedding/embedding_sort.cuh"

namespace strobe {

constexpr int kSegment = 16;      // sorted rows of one block
constexpr int kRowsInFlight = 8;  // that a thread loads at once in [2]
constexpr int kSumsInFlight = 4;  // and in [1]
constexpr int kRunThreads = 256;
constexpr int kRunLanes = 64;  // threads of them side by side in a row, 4 columns each

template <int kWidth>
__device__ __forceinline__ void add_to(float* sums, const float (&x)[kWidth]) {
  constexpr int kVector = kWidth < 4 ? kWidth : 4;
#pragma unroll
  for (int begin = 0; begin < kWidth; begin += kVector) {
    float sum[kVector];
    load_floats(sum, sums + begin);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] += x[begin + i];
    store_floats(sums + begin, sum);
  }
}

template <int kWidth>
__device__ __forceinline__ void write_to(float* sums, const float (&x)[kWidth]) {
  constexpr int kVector = kWidth < 4 ? kWidth : 4;
#pragma unroll
  for (int begin = 0; begin < kWidth; begin += kVector) {
    float part[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) part[i] = x[begin + i];
    store_floats(sums + begin, part);
  }
}

// sum += Z∘(kWidth columns of a row), which are the elements from `first` on.
template <class T, int kWidth>
__device__ __forceinline__ void add_row(float (&sum)[kWidth], const Vector<T, kWidth>& row,
                                        int64_t first, const ElementDropout& drop) {
  float x[kWidth];
  to_floats(x, row);
  drop.zero_dropped(x, first);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] = fmaf(x[i], drop.keep_scale(), sum[i]);
}

// (2) in one thread for each vector of the table; positions beyond `seq` have no rows.
template <class T>
struct EmbeddingPositionSums {
  const T* dout;           // [batch, seq, columns], or null: there is nothing to do
  float* dposition_table;  // [rows, columns]
  int64_t batch, seq, rows, columns;
  bool accumulate;

  template <int kWidth>
  __device__ __forceinline__ void run(int64_t thread, const Dropout& dropout) const {
    const int64_t vectors = columns / kWidth, position = thread / vectors;
    if (position >= rows) return;
    const int64_t column = thread % vectors * kWidth;
    const auto element = [&](int64_t b) { return (b * seq + position) * columns + column; };
    const ElementDropout drop(dropout);
    float sum[kWidth] = {};
    for (int64_t first = 0; first < batch && position < seq; first += kSumsInFlight) {
      Vector<T, kWidth> vector[kSumsInFlight];
#pragma unroll
      for (int i = 0; i < kSumsInFlight; ++i) {
        if (first + i < batch) vector[i] = load_vector<T, kWidth>(dout + element(first + i));
      }
#pragma unroll
      for (int i = 0; i < kSumsInFlight; ++i) {
        if (first + i < batch) add_row(sum, vector[i], element(first + i), drop);
      }
    }
    float* sums = dposition_table + position * columns + column;
    if (accumulate) {
      add_to(sums, sum);
    } else {
      write_to(sums, sum);
    }
  }
};

// Two jobs that do not know of each other in one launch: alone, the first would leave the memory
// idle while it waits for the L2 cache.
template <class T, int kWidth>
__global__ void __launch_bounds__(EmbeddingSort::kThreads, 4)
    embedding_backward_begin_kernel(EmbeddingSort sort, EmbeddingPositionSums<T> positions,
                                    Dropout dropout) {
  const unsigned sorting = sort.blocks();
  if (blockIdx.x < sorting) {
    sort.run(blockIdx.x);
  } else {
    const int64_t block = blockIdx.x - sorting;
    positions.template run<kWidth>(block * EmbeddingSort::kThreads + threadIdx.x, dropout);
  }
}

template <class T, int kWidth>
__global__ void embedding_backward_segments_kernel(const T* dout, const uint32_t* keys,
                                                   const int32_t* order, int64_t count,
                                                   uint32_t table_rows, int columns, float* dtable,
                                                   float* partials, Dropout dropout) {
  __shared__ uint32_t s_keys[kSegment + 2];  // with both neighbours
  __shared__ int32_t s_order[kSegment];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kSegment;
  const int size = static_cast<int>(count - begin < kSegment ? count - begin : kSegment);
  for (int i = threadIdx.x; i < kSegment + 2; i += blockDim.x) {
    const int64_t at = begin + i - 1;
    s_keys[i] = at >= 0 && at < count ? keys[at] : table_rows;
    if (i < size) s_order[i] = order[begin + i];
  }
  __syncthreads();
  const auto key_of = [&](int i) { return s_keys[i + 1]; };
  const ElementDropout drop(dropout);
  float* head = partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;
  float* tail = head + columns;

  for (int column = threadIdx.x * kWidth; column < columns; column += blockDim.x * kWidth) {
    float sum[kWidth] = {};
    bool is_head = key_of(-1) == key_of(0);
#pragma unroll 1
    for (int batch = 0; batch < kSegment; batch += kRowsInFlight) {
      Vector<T, kWidth> rows[kRowsInFlight];
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        if (batch + i >= size) break;
        const int64_t row = s_order[batch + i];
        rows[i] = load_vector<T, kWidth>(dout + row * columns + column);
      }
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        const int at = batch + i;
        if (at >= size) break;
        const uint32_t key = key_of(at);
        add_row(sum, rows[i], static_cast<int64_t>(s_order[at]) * columns + column, drop);
        const bool is_end = key_of(at + 1) != key;
        if (!is_end && at + 1 < size) continue;
        if (key == table_rows) {
          // Of no row of the table.
        } else if (is_head) {
          write_to(head + column, sum);
        } else if (!is_end) {
          write_to(tail + column, sum);
        } else {
          add_to(dtable + static_cast<int64_t>(key) * columns + column, sum);
        }
        is_head = false;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) sum[j] = 0;
      }
    }
  }
}

// For the run that begins in segment blockIdx.x and goes on in the next one, if there is one:
// dtable[key] += its tail there + the heads of the segments behind, kRunLanes·4 columns a block.
template <int kWidth>
__global__ void __launch_bounds__(kRunThreads)
    embedding_backward_runs_kernel(const float* partials, const uint32_t* keys, int64_t count,
                                   uint32_t table_rows, int columns, float* dtable) {
  constexpr int kGroups = kRunThreads / kRunLanes;
  __shared__ float s_sums[kGroups][kRunLanes][kWidth];
  const int64_t first = blockIdx.x, end = (first + 1) * kSegment;
  if (end >= count) return;
  const uint32_t key = keys[end];
  if (key == table_rows || keys[end - 1] != key) return;       // no run crosses this end
  if (first > 0 && keys[first * kSegment - 1] == key) return;  // it has begun before

  // Segment s behind has a part of the run where its first row does; these are side by side.
  int64_t last = first;
  for (int more = kRunThreads; more == kRunThreads; last += more) {
    const int64_t begin = (last + 1 + threadIdx.x) * kSegment;
    more = __syncthreads_count(begin < count && keys[begin] == key);
  }

  const int lane = threadIdx.x % kRunLanes, group = threadIdx.x / kRunLanes;
  const int column = (blockIdx.y * kRunLanes + lane) * kWidth;
  float sum[kWidth] = {};
#pragma unroll 8
  for (int64_t s = first + group; s <= last; s += kGroups) {
    if (column >= columns) break;
    float part[kWidth];
    load_floats(part, partials + (2 * s + (s == first ? 1 : 0)) * columns + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += part[i];
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) s_sums[group][lane][i] = sum[i];
  __syncthreads();
  if (group != 0 || column >= columns) return;
#pragma unroll
  for (int other = 1; other < kGroups; ++other) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += s_sums[other][lane][i];
  }
  add_to(dtable + static_cast<int64_t>(key) * columns + column, sum);
}

}  // namespace strobe
