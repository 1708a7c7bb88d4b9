// layernorm_forward_kernel, layernorm_forward_any_kernel
//
// Computes    x = residual + Z∘branch, where a branch is given, rounded to T                    (1)
//             mean = Σx/C,  rstd = 1/sqrt(Σ(x − mean)²/C + ε)
//             y = (x − mean)·rstd·weight + bias                                                 (2)
// Shapes      x, branch, residual, y [rows, C]   weight, bias [C] f32   mean, rstd [rows] f32
// Mapping     kWarps warps a row, which stays in their registers: vector k of lane l holds the
//             columns from (k·lanes + l)·width on. The other kernel takes any C: one block a row,
//             which is read three times
// Steps       [1] load  [2] sum with the branch (1)  [3] statistics  [4] write (2)
// Requires    rows of whole 16-byte vectors, at most kPerLane·32·kWarps columns; the other, nothing
// Numerics    f32; the variance in a second pass, so that a large mean does not cancel it
// Cost        reads x, writes y; with a branch reads two and writes two
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/ops/layernorm/layernorm_row.cuh"

namespace strobe {

template <class T>
struct LayernormForwardPointers {
  T* x;
  const T *branch, *residual;  // or null
  const float *weight, *bias;
  T* y;
  float *mean, *rstd;
};

// More warps at a time than the compiler would settle for: they wait for memory.
template <class T, int kPerLane, bool kHasBranch>
constexpr int kLayernormForwardBlocks = sizeof(T) == 4 || kPerLane > 24 ? 2
                                        : kHasBranch                    ? 3
                                                                        : 5;

template <class T, int kPerLane, int kWarps, bool kHasBranch>
__global__ void __launch_bounds__(kLayernormThreads,
                                  (kLayernormForwardBlocks<T, kPerLane, kHasBranch>))
    layernorm_forward_kernel(LayernormForwardPointers<T> p, int64_t rows, int columns,
                             float epsilon, Dropout dropout) {
  using Row = LayernormRow<T, kPerLane, kWarps>;
  __shared__ float scratch[2][kWarps];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Row::kRowsPerBlock + Row::group();
  if (row >= rows) return;
  const int64_t begin = row * columns;
  const T* input = kHasBranch ? p.branch : p.x;

  WideVector<T> raw[Row::kVectors], base[Row::kVectors];  // [1]
  Row::for_vectors(columns, [&](int k, int column) {
    raw[k] = load_vector<T, Row::kWidth>(input + begin + column);
    if (kHasBranch && p.residual != nullptr)
      base[k] = load_vector<T, Row::kWidth>(p.residual + begin + column);
  });

  float x[Row::kVectors][Row::kWidth] = {};  // [2]
  const ElementDropout drop(dropout);
  Row::for_vectors(columns, [&](int k, int column) {
    to_floats(x[k], raw[k]);
    if constexpr (!kHasBranch) return;
    float residual[Row::kWidth] = {};
    if (p.residual != nullptr) to_floats(residual, base[k]);
    drop.zero_dropped(x[k], begin + column);
#pragma unroll
    for (int i = 0; i < Row::kWidth; ++i) {
      x[k][i] = to_float(from_float<T>(fmaf(x[k][i], drop.keep_scale(), residual[i])));
    }
    store_floats(p.x + begin + column, x[k]);
  });

  const float scale = 1.0f / static_cast<float>(columns);  // [3]
  float sum = 0, squares = 0;
  Row::for_vectors(columns, [&](int k, int) {
#pragma unroll
    for (int i = 0; i < Row::kWidth; ++i) sum += x[k][i];
  });
  const float mean = scale * Row::sum_lanes(sum, scratch[0]);
  Row::for_vectors(columns, [&](int k, int) {
#pragma unroll
    for (int i = 0; i < Row::kWidth; ++i) squares += (x[k][i] - mean) * (x[k][i] - mean);
  });
  const float rstd = 1.0f / sqrtf(scale * Row::sum_lanes(squares, scratch[1]) + epsilon);

  Row::for_vectors(columns, [&](int k, int column) {  // [4]
    float weight[Row::kWidth], bias[Row::kWidth];
    load_parameters(weight, p.weight + column);
    load_parameters(bias, p.bias + column);
#pragma unroll
    for (int i = 0; i < Row::kWidth; ++i) {
      x[k][i] = fmaf((x[k][i] - mean) * rstd, weight[i], bias[i]);
    }
    store_floats(p.y + begin + column, x[k]);
  });
  if (Row::lane() == 0) {
    p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

template <class T>
__global__ void __launch_bounds__(kLayernormThreads)
    layernorm_forward_any_kernel(LayernormForwardPointers<T> p, int columns, float epsilon,
                                 Dropout dropout) {
  __shared__ float scratch[2][kLayernormThreads / kWarpSize];
  const int64_t row = blockIdx.x, begin = row * columns;
  const ElementDropout drop(dropout);
  float sum = 0, squares = 0;
  for (int c = threadIdx.x; c < columns; c += kLayernormThreads) {  // [1] [2]
    if (p.branch != nullptr) {
      float kept[1] = {to_float(p.branch[begin + c])};
      const float residual = p.residual == nullptr ? 0.0f : to_float(p.residual[begin + c]);
      drop.zero_dropped(kept, begin + c);
      p.x[begin + c] = from_float<T>(fmaf(kept[0], drop.keep_scale(), residual));
    }
    sum += to_float(p.x[begin + c]);
  }
  const float scale = 1.0f / static_cast<float>(columns);  // [3]
  const float mean = scale * reduce_block<Sum, kLayernormThreads>(sum, scratch[0]);
  for (int c = threadIdx.x; c < columns; c += kLayernormThreads) {
    const float centred = to_float(p.x[begin + c]) - mean;
    squares += centred * centred;
  }
  const float variance = scale * reduce_block<Sum, kLayernormThreads>(squares, scratch[1]);
  const float rstd = 1.0f / sqrtf(variance + epsilon);
  for (int c = threadIdx.x; c < columns; c += kLayernormThreads) {  // [4]
    const float normal = (to_float(p.x[begin + c]) - mean) * rstd;
    p.y[begin + c] = from_float<T>(fmaf(normal, p.weight[c], p.bias[c]));
  }
  if (threadIdx.x == 0) {
    p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

}  // namespace strobe
