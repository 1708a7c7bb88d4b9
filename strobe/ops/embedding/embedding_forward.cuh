// embedding_forward_kernel
//
// Computes    out[i] = Z∘(token_table[tokens[i]] + position_table[positions[i]])
// Shapes      tokens, positions [rows]   tables [V or P, C]   out [rows, C]
// Mapping     one block a row, kWidth neighbouring columns a thread at a time
// Requires    with kWidth = 16 bytes of out: rows of whole vectors at multiples of 16 bytes
// Numerics    f32; the sum is rounded to T before Z; a row with an id outside its table is NaN
// Cost        reads two rows and writes one for each token
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/elementwise.cuh"

namespace strobe {

// Row i's position: given, or counted in sequences of `seq`.
struct EmbeddingPositions {
  const int32_t* given;  // or null
  int64_t seq;

  __device__ __forceinline__ int32_t of(int64_t row) const {
    return given == nullptr ? static_cast<int32_t>(row % seq) : given[row];
  }
};

template <class Table>
struct EmbeddingTables {
  const Table *token, *position;
  int32_t token_rows, position_rows;
};

template <class Table, class T, int kWidth>
__global__ void embedding_forward_kernel(const int32_t* tokens, EmbeddingPositions positions,
                                         EmbeddingTables<Table> tables, T* out, int columns,
                                         Dropout dropout) {
  const int64_t row = blockIdx.x;
  const int32_t token = tokens[row], position = positions.of(row);
  const bool is_inside =
      token >= 0 && token < tables.token_rows && position >= 0 && position < tables.position_rows;
  const ElementDropout drop(dropout);
  for (int column = threadIdx.x * kWidth; column < columns; column += blockDim.x * kWidth) {
    float sum[kWidth], other[kWidth];
    if (is_inside) {
      load_floats(sum, tables.token + static_cast<int64_t>(token) * columns + column);
      load_floats(other, tables.position + static_cast<int64_t>(position) * columns + column);
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      sum[i] = is_inside ? to_float(from_float<T>(sum[i] + other[i])) : NAN;
    }
    const int64_t first = row * columns + column;
    drop.zero_dropped(sum, first);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] *= drop.keep_scale();
    store_floats(out + first, sum);
  }
}

}  // namespace strobe
