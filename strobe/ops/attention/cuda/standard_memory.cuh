#pragma once

#include "strobe/ops/attention/cuda/standard_rows.cuh"

// cuda_standard's kernels beside the softmax: what its matrix products are given and leave.
namespace strobe {

// The matrices of a batched product as cuBLAS takes them: an array of addresses for each operand.
// Pairs are taken in chunks, one after another; inside a chunk those of each group's first query
// head come first, then those of its second, and so on: so a sum over the heads of a group is a few
// products of neighbours. Addresses in bytes; a stride is 0 where nothing is stepped along.
struct MatrixArray {
  char* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0;       // of a tensor; the head is of k and v with is_kv
  int64_t pair_stride = 0, chunk_pair_stride = 0;  // of scores, by the pair's number; in its chunk
  int64_t chunk_unit_stride = 0;  // of sums, by the number of the key/value head in its chunk
  bool is_kv = false;
};
constexpr int kMostMatrixArrays = 11;
struct MatrixArrays {
  MatrixArray of[kMostMatrixArrays];
  int count = 0;
  int pairs = 0;  // B·Hq
  int chunk_units =
      0;  // pairs of a sequence and a key/value head in a chunk; the last has the rest
  int heads_kv = 0, group = 1;
};

// Where entry `i` of an array points to.
STROBE_HD inline char* matrix_address(const MatrixArrays& m, const MatrixArray& array, int i) {
  const int chunk_pairs = m.chunk_units * m.group, first = i / chunk_pairs * chunk_pairs;
  const int left = (m.pairs - first) / m.group;
  const int units = left < m.chunk_units ? left : m.chunk_units;
  const int unit = (i - first) % units, member = (i - first) / units;
  const int unit_in_all = first / m.group + unit;
  const int batch = unit_in_all / m.heads_kv, head_kv = unit_in_all % m.heads_kv;
  const int head = head_kv * m.group + member;
  const int64_t pair_in_chunk = int64_t{unit} * m.group + member;
  return array.data + batch * array.batch_stride +
         (array.is_kv ? head_kv : head) * array.head_stride +
         (first + pair_in_chunk) * array.pair_stride + pair_in_chunk * array.chunk_pair_stride +
         unit * array.chunk_unit_stride;
}

// addresses[a·pairs + i] for every array and pair.
static __global__ void set_addresses_kernel(const MatrixArrays m, char** addresses) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= m.pairs) return;
#pragma unroll
  for (int a = 0; a < kMostMatrixArrays; ++a) {
    if (a < m.count) addresses[int64_t{a} * m.pairs + i] = matrix_address(m, m.of[a], i);
  }
}

// Positions [begin, end) of each sequence; null: from 0, to the end.
struct KeptPositions {
  const int32_t *begin = nullptr, *end = nullptr;
};

// to = from [batch, time, heads, head_dim], zeros at positions that are not kept: padding may hold
// NaN, and 0·NaN is no 0 in a product. Without `from` everything is zero.
template <class T>
__global__ void copy_kept_kernel(BthdView<const T> from, BthdView<T> to, KeptPositions kept,
                                 int time, int heads, int head_dim, int64_t vectors) {
  const bool is_aligned = from.has_aligned_rows && to.has_aligned_rows;
  const int row_vectors = head_dim / kScoreVector;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < vectors;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int d = static_cast<int>(i % row_vectors) * kScoreVector;
    const auto head = static_cast<int>(i / row_vectors % heads);
    const auto t = static_cast<int>(i / row_vectors / heads % time);
    const auto batch = static_cast<int>(i / row_vectors / heads / time);
    const bool is_kept = from.data != nullptr &&
                         (kept.begin == nullptr || t >= kept.begin[batch]) &&
                         (kept.end == nullptr || t < kept.end[batch]);
    const T* source = from.row(batch, t, head) + d;
    T* target = to.row(batch, t, head) + d;
    float x[kScoreVector] = {};
    if (is_kept && is_aligned) load_scores(source, x);
    if (is_kept && !is_aligned) {
      for (int e = 0; e < kScoreVector; ++e) x[e] = to_float(source[e]);
    }
    if (is_aligned) {
      store_scores(target, x);
    } else {
      for (int e = 0; e < kScoreVector; ++e) target[e] = from_float<T>(x[e]);
    }
  }
}

// to = sums, rounded: sums [units, time, head_dim] of the key/value heads from `first_unit` on.
template <class T>
__global__ void narrow_sums_kernel(const float* sums, BthdView<T> to, int first_unit, int heads_kv,
                                   int time, int head_dim, int64_t count) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const auto d = static_cast<int>(i % head_dim), t = static_cast<int>(i / head_dim % time);
    const auto unit = first_unit + static_cast<int>(i / head_dim / time);
    to.row(unit / heads_kv, t, unit % heads_kv)[d] = from_float<T>(sums[i]);
  }
}

// dbias [B or 1, Hq or 1, Tq or 1, Tk] += dS of a chunk's pairs, summed in order over what shares
// an element.
struct BiasGradient {
  float* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, query_stride = 0;  // 0 where shared
  bool is_batch_shared = false, is_head_shared = false, is_query_shared = false;
};

constexpr int kDbiasColumns = 32, kDbiasRows = 8;  // of a block

template <class T>
__global__ void __launch_bounds__(kDbiasColumns* kDbiasRows)
    add_dbias_kernel(const T* dscores, ScoreMatrices shape, BiasGradient dbias, int seq_q,
                     int seq_k) {
  __shared__ float sums[kDbiasRows][kDbiasColumns];
  const int x = threadIdx.x % kDbiasColumns, y = threadIdx.x / kDbiasColumns;
  const int column_blocks = (seq_k + kDbiasColumns - 1) / kDbiasColumns;
  const int column = static_cast<int>(blockIdx.x) % column_blocks * kDbiasColumns + x;
  const int sequences = shape.pairs / shape.heads;
  // The block's element of [sequences or 1, heads or 1]; its rows are Tq, or one that all share.
  const int heads = dbias.is_head_shared ? 1 : shape.heads;
  const int batch = blockIdx.y / heads, head = blockIdx.y % heads;
  const int batch_end = dbias.is_batch_shared ? sequences : batch + 1;
  const int head_end = dbias.is_head_shared ? shape.heads : head + 1;
  const int row = static_cast<int>(blockIdx.x) / column_blocks * kDbiasRows + y;
  const int row_end = dbias.is_query_shared ? seq_q : min(row + 1, seq_q);
  float sum = 0;
  if (column < seq_k) {
    for (int b = batch; b < batch_end; ++b) {
      for (int h = head; h < head_end; ++h) {
        const T* matrix = dscores + (b * shape.heads + h) * shape.pair_stride + column;
        for (int t = row; t < row_end; t += kDbiasRows) {
          sum += to_float(matrix[t * shape.row_stride]);
        }
      }
    }
  }
  float* to = dbias.data + (shape.first_sequence + batch) * dbias.batch_stride +
              (shape.first_head + head) * dbias.head_stride + column;
  if (!dbias.is_query_shared) {
    if (row < seq_q && column < seq_k) to[row * dbias.query_stride] += sum;
    return;
  }
  sums[y][x] = sum;
  __syncthreads();
  if (y != 0 || column >= seq_k) return;
  for (int i = 1; i < kDbiasRows; ++i) sum += sums[i][x];
  *to += sum;
}

}  // namespace strobe
