// embedding_backward_begin_kernel, embedding_backward_chunks_kernel,
// embedding_backward_runs_kernel
//
// Computes    dtable[id] += Σ_{i: ids[i] = id} Z∘dout[i]                                        (1)
//             dposition_table[p] (+)= Σ_b Z∘dout[b, p], where positions are counted             (2)
// Shapes      dout [rows, C]   dtable [R, C] f32   keys, order, starts [rows]: the ids side by side
//             with their equals, the rows that they come from, and where a run of equals begins
//             partials [windows, 2, C] f32
// Mapping     [1] some blocks group the ids (embedding_sort.cuh) while the others sum (2), which is
//             at the memory's pace  [2] runs are cut into chunks of kChunk rows; one block sums the
//             chunks that begin in its window of kChunk grouped rows. A run of one chunk is added
//             to the table; sums of other chunks are written down, a run's first in slot 0 of the
//             window where it begins, the rest in slot 1: two never meet, for kChunk rows of one
//             run lie between  [3] one block joins the chunks of the runs that begin in its windows
// Requires    with kWidth = 16 bytes of dout: rows of whole vectors at multiples of 16 bytes
// Numerics    f32, each sum in an order that ids and shape fix: no atomics
// Cost        reads dout twice, and reads and writes each of the table's rows that occur once
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/embedding/embedding_sort.cuh"

namespace strobe {

constexpr int kChunk = 16;        // grouped rows that are summed at once
constexpr int kRowsInFlight = 8;  // that a thread loads at once in [2]
constexpr int kSumsInFlight = 4;  // and in [1]
constexpr int kRunThreads = 256;  // of [3]
constexpr int kRunWindows = 8;    // of a block
constexpr int kRunLanes = 64;     // threads side by side in a row, 4 columns each

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
__global__ void __launch_bounds__(EmbeddingSort::kThreads, 2)
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

// What the ids came to.
struct EmbeddingRuns {
  const uint32_t* keys;
  const int32_t *order, *starts;
  int32_t count;
  uint32_t table_rows;

  __device__ __forceinline__ bool goes_on_at(int at, uint32_t key) const {
    return at < count && keys[at] == key;
  }
};

// What becomes of the sum so far behind a row.
enum class ChunkEnd : unsigned char { none, table, first_slot, other_slot, nowhere };

template <class T, int kWidth>
__global__ void embedding_backward_chunks_kernel(const T* dout, EmbeddingRuns runs, int columns,
                                                 float* dtable, float* partials, Dropout dropout) {
  constexpr int kRows = 2 * kChunk;  // a chunk that begins in the window may end behind it
  __shared__ uint32_t s_keys[kRows];
  __shared__ int32_t s_order[kRows];
  __shared__ ChunkEnd s_ends[kRows];
  const int window = blockIdx.x * kChunk;
  bool is_before = false, is_mine = false;
  if (const int i = threadIdx.x, at = window + i; i < kRows && at < runs.count) {
    const uint32_t key = runs.keys[at];
    const int offset = at - runs.starts[at], chunk = at - offset % kChunk;
    const bool is_run_end = !runs.goes_on_at(at + 1, key);
    const bool is_chunk_end = is_run_end || (offset + 1) % kChunk == 0;
    is_before = chunk < window;
    is_mine = !is_before && chunk < window + kChunk;
    s_keys[i] = key;
    s_order[i] = runs.order[at];
    s_ends[i] = !is_chunk_end            ? ChunkEnd::none
                : key == runs.table_rows ? ChunkEnd::nowhere
                : offset >= kChunk       ? ChunkEnd::other_slot
                : is_run_end             ? ChunkEnd::table
                                         : ChunkEnd::first_slot;
  }
  const int begin = __syncthreads_count(is_before);
  const int end = begin + __syncthreads_count(is_mine);
  const ElementDropout drop(dropout);
  float* slots = partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;

  for (int column = threadIdx.x * kWidth; column < columns; column += blockDim.x * kWidth) {
    float sum[kWidth] = {};
#pragma unroll 1
    for (int batch = begin; batch < end; batch += kRowsInFlight) {
      Vector<T, kWidth> rows[kRowsInFlight];
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        if (batch + i >= end) break;
        const int64_t row = s_order[batch + i];
        rows[i] = load_vector<T, kWidth>(dout + row * columns + column);
      }
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        if (batch + i >= end) break;
        add_row(sum, rows[i], static_cast<int64_t>(s_order[batch + i]) * columns + column, drop);
        const ChunkEnd chunk_end = s_ends[batch + i];
        if (chunk_end == ChunkEnd::none) continue;
        if (chunk_end == ChunkEnd::table) {
          add_to(dtable + static_cast<int64_t>(s_keys[batch + i]) * columns + column, sum);
        } else if (chunk_end != ChunkEnd::nowhere) {
          write_to(slots + (chunk_end == ChunkEnd::first_slot ? 0 : columns) + column, sum);
        }
#pragma unroll
        for (int j = 0; j < kWidth; ++j) sum[j] = 0;
      }
    }
  }
}

// For each run of more than one chunk that begins in windows blockIdx.x·kRunWindows and on:
// dtable[key] += the sums of its chunks, kRunLanes·kWidth columns a block.
template <int kWidth>
__global__ void __launch_bounds__(kRunThreads)
    embedding_backward_runs_kernel(const float* partials, EmbeddingRuns runs, int columns,
                                   float* dtable) {
  constexpr int kGroups = kRunThreads / kRunLanes;
  __shared__ float s_sums[kGroups][kRunLanes][kWidth];
  __shared__ int s_begins[kRunWindows], s_found;
  if (threadIdx.x == 0) s_found = 0;
  __syncthreads();
  const int at = blockIdx.x * kRunWindows * kChunk + threadIdx.x;
  if (threadIdx.x < kRunWindows * kChunk && at < runs.count && runs.starts[at] == at) {
    const uint32_t key = runs.keys[at];
    if (key != runs.table_rows && runs.goes_on_at(at + kChunk, key)) {
      s_begins[atomicAdd(&s_found, 1)] = at;  // in any order: each run has a row of its own
    }
  }
  __syncthreads();

  const int lane = threadIdx.x % kRunLanes, group = threadIdx.x / kRunLanes;
  const int column = (blockIdx.y * kRunLanes + lane) * kWidth;
  for (int found = 0; found < s_found; ++found) {
    const int begin = s_begins[found], window = begin / kChunk;
    const uint32_t key = runs.keys[begin];
    int chunks = 1;
    for (int more = kRunThreads; more == kRunThreads; chunks += more) {
      const int chunk = chunks + static_cast<int>(threadIdx.x);
      more = __syncthreads_count(runs.goes_on_at(begin + chunk * kChunk, key));
    }
    float sum[kWidth] = {};
#pragma unroll 8
    for (int chunk = group; chunk < chunks; chunk += kGroups) {
      if (column >= columns) break;
      float part[kWidth];
      const int64_t slot = 2 * static_cast<int64_t>(window + chunk) + (chunk == 0 ? 0 : 1);
      load_floats(part, partials + slot * columns + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += part[i];
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) s_sums[group][lane][i] = sum[i];
    __syncthreads();
    if (group == 0 && column < columns) {
#pragma unroll
      for (int other = 1; other < kGroups; ++other) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += s_sums[other][lane][i];
      }
      add_to(dtable + static_cast<int64_t>(key) * columns + column, sum);
    }
    __syncthreads();
  }
}

}  // namespace strobe
