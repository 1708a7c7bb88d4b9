// embedding_forward_kernel
//
// Computes    out[i] = Z∘(token_table[tokens[i]] + position_table[positions[i]])
// Shapes      tokens, positions [rows]   tables [V or P, C]   out [rows, C]
// Mapping     one thread, kWidth neighbouring columns of one row
// Requires    with kWidth = 16 bytes of out: rows of whole vectors at multiples of 16 bytes
// Numerics    f32; the sum is rounded to T before Z; a row with an id outside its table is NaN
// Cost        reads two rows and writes one for each token
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/elementwise.cuh"

namespace strobe {

constexpr int kEmbeddingThreads = 256;

// Row i's position: given, or counted in sequences of `seq`.
struct EmbeddingPositions {
  const int32_t* given;  // or null
  uint32_t seq;

  __device__ __forceinline__ int32_t of(uint32_t row) const {
    return given == nullptr ? static_cast<int32_t>(row % seq) : given[row];
  }
};

template <class Table>
struct EmbeddingTables {
  const Table *token, *position;
  int32_t token_rows, position_rows;
};

template <class Table, class T, int kWidth>
__global__ void __launch_bounds__(kEmbeddingThreads)
    embedding_forward_kernel(const int32_t* tokens, EmbeddingPositions positions,
                             EmbeddingTables<Table> tables, T* out, int64_t rows, uint32_t columns,
                             Dropout dropout) {
  const uint32_t row_vectors = columns / kWidth;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kEmbeddingThreads + threadIdx.x;
  if (thread >= rows * row_vectors) return;
  const auto row = static_cast<uint32_t>(thread / row_vectors);
  const auto column = static_cast<uint32_t>(thread % row_vectors) * kWidth;
  const int32_t token = tokens[row], position = positions.of(row);
  const bool is_inside =
      token >= 0 && token < tables.token_rows && position >= 0 && position < tables.position_rows;
  float a[kWidth], b[kWidth] = {};
  if (is_inside) {
    load_floats(a, tables.token + static_cast<int64_t>(token) * columns + column);
    load_floats(b, tables.position + static_cast<int64_t>(position) * columns + column);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) a[i] = NAN;
  }
  const ElementDropout drop(dropout);
  const int64_t first = static_cast<int64_t>(row) * columns + column;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) a[i] = to_float(from_float<T>(a[i] + b[i]));
  drop.zero_dropped(a, first);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) a[i] *= drop.keep_scale();
  store_floats(out + first, a);
}

}  // namespace strobe
