// layernorm_backward_kernel, layernorm_backward_any_kernel, layernorm_backward_parameters_kernel
//
// Computes    dx = rstd·(g − Σg/C − x̂·Σ(g·x̂)/C) + dresidual                                   (1)
//             with g = dy·weight,  x̂ = (x − mean)·rstd
//             dbranch = Z∘dx, where it is asked for, of dx as rounded to T                    (2)
//             dweight = Σ_rows dy·x̂,  dbias = Σ_rows dy                                       (3)
// Shapes      x, dy, dresidual, dx, dbranch [rows, C]   dweight, dbias [C] f32
//             partials [parts, 2, C] f32: (3) over the rows of each block
// Mapping     as many blocks as the GPU holds, kWarps warps a row at a time, which stays in their
//             registers beside their sums (3); then 32 columns a block, its 32 warps share out the
//             parts. The other kernel takes any C: one block a row at a time, read twice
// Steps       [1] load  [2] Σg, Σg·x̂ and (3)  [3] write (1), (2)  [4] add up the block's sums
// Requires    rows of whole 16-byte vectors, at most kPerLane·32·kWarps columns; the other, nothing
// Numerics    f32; g is rounded, so that it cancels against a mean of equal ones; all sums in an
//             order that the shape and the GPU's number of multiprocessors fix
// Cost        reads x, dy, dresidual, writes dx, dbranch; 8·C bytes a block written and read again
#pragma once

#include "strobe/gpu/dropout.cuh"
#include "strobe/ops/layernorm/layernorm_row.cuh"

namespace strobe {

template <class T>
struct LayernormBackwardPointers {
  const T* x;
  const float *weight, *mean, *rstd;
  const T *dy, *dresidual;  // dresidual or null
  T *dx, *dbranch;          // dbranch or null
  float* partials;
};

// out[0 … columns) = the sums of all groups of the block, in their order.
template <class Row>
__device__ __forceinline__ void write_block_sum(float* out,
                                                const float (&sum)[Row::kVectors][Row::kWidth],
                                                int columns) {
  if constexpr (Row::kRowsPerBlock == 1) {
    Row::for_vectors(columns, [&](int k, int column) { store_parameters(out + column, sum[k]); });
  } else {
    __shared__ alignas(16) float s_sums[Row::kRowsPerBlock][Row::kMaxColumns];
    __syncthreads();
    Row::for_vectors(columns, [&](int k, int column) {
      store_parameters(&s_sums[Row::group()][column], sum[k]);
    });
    __syncthreads();
    for (int column = 4 * threadIdx.x; column < columns; column += 4 * kLayernormThreads) {
      float total[4] = {};
#pragma unroll
      for (int group = 0; group < Row::kRowsPerBlock; ++group) {
        float part[4];
        load_parameters(part, &s_sums[group][column]);
#pragma unroll
        for (int i = 0; i < 4; ++i) total[i] += part[i];
      }
      store_parameters(out + column, total);
    }
  }
}

template <class T, int kPerLane, int kWarps>
__global__ void __launch_bounds__(kLayernormThreads, sizeof(T) == 2 ? 2 : 1)
    layernorm_backward_kernel(LayernormBackwardPointers<T> p, int64_t rows, int columns,
                              Dropout dropout) {
  using Row = LayernormRow<T, kPerLane, kWarps>;
  constexpr int kVectors = Row::kVectors, kWidth = Row::kWidth;
  __shared__ float scratch[2][kWarps];
  const ElementDropout drop(dropout);
  const float scale = 1.0f / static_cast<float>(columns);
  float dweight[kVectors][kWidth] = {}, dbias[kVectors][kWidth] = {};

  const int64_t stride = static_cast<int64_t>(gridDim.x) * Row::kRowsPerBlock;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * Row::kRowsPerBlock + Row::group();
       row < rows; row += stride) {
    const int64_t begin = row * columns;
    WideVector<T> x[kVectors], dy[kVectors];  // [1]
    Row::for_vectors(columns, [&](int k, int column) {
      x[k] = load_vector<T, kWidth>(p.x + begin + column);
      dy[k] = load_vector<T, kWidth>(p.dy + begin + column);
    });
    const float mean = p.mean[row], rstd = p.rstd[row];

    float sum_g = 0, sum_gx = 0;  // [2]
    Row::for_vectors(columns, [&](int k, int column) {
      float weight[kWidth];
      load_parameters(weight, p.weight + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float gradient = to_float(dy[k].element[i]), g = __fmul_rn(gradient, weight[i]);
        const float normal = (to_float(x[k].element[i]) - mean) * rstd;
        sum_g += g;
        sum_gx = fmaf(g, normal, sum_gx);
        dweight[k][i] = fmaf(gradient, normal, dweight[k][i]);
        dbias[k][i] += gradient;
      }
    });
    const float mean_g = scale * Row::sum_lanes(sum_g, scratch[0]);
    const float mean_gx = scale * Row::sum_lanes(sum_gx, scratch[1]);

    Row::for_vectors(columns, [&](int k, int column) {  // [3]
      float weight[kWidth], bypass[kWidth] = {}, dx[kWidth];
      load_parameters(weight, p.weight + column);
      if (p.dresidual != nullptr) load_floats(bypass, p.dresidual + begin + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float g = __fmul_rn(to_float(dy[k].element[i]), weight[i]);
        const float normal = (to_float(x[k].element[i]) - mean) * rstd;
        dx[i] = to_float(from_float<T>(fmaf(rstd, g - mean_g - normal * mean_gx, bypass[i])));
      }
      store_floats(p.dx + begin + column, dx);
      if (p.dbranch == nullptr) return;
      drop.zero_dropped(dx, begin + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) dx[i] *= drop.keep_scale();
      store_floats(p.dbranch + begin + column, dx);
    });
  }
  float* partials = p.partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;  // [4]
  write_block_sum<Row>(partials, dweight, columns);
  write_block_sum<Row>(partials + columns, dbias, columns);
}

template <class T>
__global__ void __launch_bounds__(kLayernormThreads)
    layernorm_backward_any_kernel(LayernormBackwardPointers<T> p, int64_t rows, int columns,
                                  Dropout dropout) {
  __shared__ float scratch[2][kLayernormThreads / kWarpSize];
  const ElementDropout drop(dropout);
  const float scale = 1.0f / static_cast<float>(columns);
  float* dweight = p.partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;
  float* dbias = dweight + columns;
  for (int c = threadIdx.x; c < columns; c += kLayernormThreads) dweight[c] = dbias[c] = 0;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t begin = row * columns;
    const float mean = p.mean[row], rstd = p.rstd[row];
    const auto normal_of = [&](int c) { return (to_float(p.x[begin + c]) - mean) * rstd; };
    float sum_g = 0, sum_gx = 0;
    for (int c = threadIdx.x; c < columns; c += kLayernormThreads) {  // [1] [2]
      const float gradient = to_float(p.dy[begin + c]), normal = normal_of(c);
      const float g = __fmul_rn(gradient, p.weight[c]);
      sum_g += g;
      sum_gx = fmaf(g, normal, sum_gx);
      dweight[c] = fmaf(gradient, normal, dweight[c]);
      dbias[c] += gradient;
    }
    const float mean_g = scale * reduce_block<Sum, kLayernormThreads>(sum_g, scratch[0]);
    const float mean_gx = scale * reduce_block<Sum, kLayernormThreads>(sum_gx, scratch[1]);
    for (int c = threadIdx.x; c < columns; c += kLayernormThreads) {  // [3]
      const float g = __fmul_rn(to_float(p.dy[begin + c]), p.weight[c]);
      const float bypass = p.dresidual == nullptr ? 0.0f : to_float(p.dresidual[begin + c]);
      const T dx = from_float<T>(fmaf(rstd, g - mean_g - normal_of(c) * mean_gx, bypass));
      p.dx[begin + c] = dx;
      if (p.dbranch == nullptr) continue;
      float kept[1] = {to_float(dx)};
      drop.zero_dropped(kept, begin + c);
      p.dbranch[begin + c] = from_float<T>(kept[0] * drop.keep_scale());
    }
  }
}

// out[c] (+)= Σ_parts partials[part][c] of the 2·columns columns of both parameters.
__global__ void __launch_bounds__(kLayernormSumThreads)
    layernorm_backward_parameters_kernel(const float* partials, float* dweight, float* dbias,
                                         int parts, int columns, bool accumulate) {
  constexpr int kGroups = kLayernormSumThreads / kWarpSize;
  __shared__ float sums[kGroups][kWarpSize];
  const int lane = threadIdx.x % kWarpSize, group = threadIdx.x / kWarpSize;
  const int column = blockIdx.x * kWarpSize + lane;
  const bool is_inside = column < 2 * columns;
  float sum = 0;
#pragma unroll 8
  for (int part = group; part < parts; part += kGroups) {
    if (is_inside) sum += partials[static_cast<int64_t>(part) * 2 * columns + column];
  }
  sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || !is_inside) return;
#pragma unroll
  for (int i = 1; i < kGroups; ++i) sum += sums[i][lane];
  float* out = column < columns ? dweight + column : dbias + column - columns;
  *out = accumulate ? *out + sum : sum;
}

}  // namespace strobe
