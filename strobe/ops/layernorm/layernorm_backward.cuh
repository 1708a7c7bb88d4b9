// layernorm_backward_kernel, layernorm_backward_any_kernel, layernorm_backward_parameters_kernel
//
// Computes    dx = rstd·(g − Σg/C − x̂·Σ(g·x̂)/C) + dresidual                                   (1)
//             with g = dy·weight,  x̂ = (x − mean)·rstd
//             dbranch = Z∘dx, where it is asked for, of dx as rounded to T                    (2)
//             dweight = Σ_rows dy·x̂,  dbias = Σ_rows dy                                       (3)
// Shapes      x, dy, dresidual, dx, dbranch [rows, C]   dweight, dbias [C] f32
//             partials [parts, 2, C] f32: (3) over the rows of each block
// Mapping     a group of warps takes row after row, kPerThread columns a thread, which are the same
//             ones in all rows: so weights and sums (3) stay in registers. As many groups as a
//             multiprocessor has registers for are one block. Then 32 columns a block, its 32 warps
//             share out the parts. The other kernel takes any C: one block a row at a time, which
//             is read twice
// Steps       [1] load  [2] Σg, Σg·x̂ and (3)  [3] write (1), (2)  [4] add up the block's sums
// Requires    rows of whole 16-byte vectors, of no more columns than a block has threads for; the
//             other, nothing
// Numerics    f32; g is rounded, so that it cancels against a mean of equal ones; all sums in an
//             order that the shape and the GPU's number of multiprocessors fix
// Cost        reads x, dy, dresidual, writes dx, dbranch; 8·C bytes a block written and read again
#pragma once

#include <algorithm>

#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/named_barrier.cuh"
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

// How a block's warps are put together as groups.
struct LayernormGroups {
  static constexpr int kMaxGroups = 15;  // of a block: there are 15 named barriers

  int warps;  // of a group
  int count;  // of groups

  // The most warps of a block: one block fills a multiprocessor's registers. 18 are 6 groups of
  // GPT-2's 768 columns.
  template <class T, int kPerThread>
  static constexpr int kMaxWarps = sizeof(T) * kPerThread <= 16 ? 18 : 12;

  template <class T, int kPerThread>
  static LayernormGroups of(int64_t columns) {
    constexpr int kColumns = kPerThread * kWarpSize;  // of a warp
    const auto warps = static_cast<int>((columns + kColumns - 1) / kColumns);
    return {.warps = warps, .count = std::min(kMaxWarps<T, kPerThread> / warps, kMaxGroups)};
  }
};

// One thread's part of a row.
template <class T, int kVectors>
struct LayernormBackwardRow {
  WideVector<T> x[kVectors], dy[kVectors], dresidual[kVectors];
  float mean, rstd;
};

// out[0 … columns) = Σ over the groups of the block, in their order, of what their threads hold.
// `s_sums` has room for a row of each group.
template <int kVectors, int kWidth>
__device__ __forceinline__ void write_block_sum(float* out, float* s_sums,
                                                const float (&sum)[kVectors][kWidth], int group,
                                                int lane, LayernormGroups groups, int columns) {
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int column = (k * groups.warps * kWarpSize + lane) * kWidth;
    if (column < columns) store_parameters(s_sums + group * columns + column, sum[k]);
  }
  __syncthreads();
  for (int column = 4 * threadIdx.x; column < columns; column += 4 * blockDim.x) {
    float total[4] = {};
    for (int i = 0; i < groups.count; ++i) {
      float part[4];
      load_parameters(part, s_sums + i * columns + column);
#pragma unroll
      for (int j = 0; j < 4; ++j) total[j] += part[j];
    }
    store_parameters(out + column, total);
  }
}

template <class T, int kPerThread>
__global__ void __launch_bounds__(LayernormGroups::kMaxWarps<T, kPerThread>* kWarpSize, 1)
    layernorm_backward_kernel(LayernormBackwardPointers<T> p, int64_t rows, int columns,
                              LayernormGroups groups, Dropout dropout) {
  constexpr int kWidth = kVectorWidth<T>, kVectors = kPerThread / kWidth;
  extern __shared__ float s_sums[];
  __shared__ float2 s_parts[2][LayernormGroups::kMaxWarps<T, kPerThread>];
  const int lanes = groups.warps * kWarpSize;
  const int group = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const int first_warp = group * groups.warps;
  const ElementDropout drop(dropout);
  const float scale = 1.0f / static_cast<float>(columns);

  bool is_inside[kVectors];
  float weight[kVectors][kWidth] = {};
  float dweight[kVectors][kWidth] = {}, dbias[kVectors][kWidth] = {};
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int column = (k * lanes + lane) * kWidth;
    is_inside[k] = column < columns;
    if (is_inside[k]) load_parameters(weight[k], p.weight + column);
  }

  const auto load = [&](int64_t row) {  // [1]
    LayernormBackwardRow<T, kVectors> loaded = {};
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (!is_inside[k]) continue;
      const int64_t at = row * columns + (k * lanes + lane) * kWidth;
      loaded.x[k] = load_vector<T, kWidth>(p.x + at);
      loaded.dy[k] = load_vector<T, kWidth>(p.dy + at);
      if (p.dresidual != nullptr) loaded.dresidual[k] = load_vector<T, kWidth>(p.dresidual + at);
    }
    loaded.mean = p.mean[row];
    loaded.rstd = p.rstd[row];
    return loaded;
  };

  const int64_t stride = static_cast<int64_t>(gridDim.x) * groups.count;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * groups.count + group;
  LayernormBackwardRow<T, kVectors> next = {};
  if (first_row < rows) next = load(first_row);
  int side = 0;  // of s_parts, which takes turns: so one barrier a row is enough
  for (int64_t row = first_row; row < rows; row += stride, side ^= 1) {
    const auto [x, dy, dresidual, mean, rstd] = next;
    if (row + stride < rows) next = load(row + stride);  // under way while this row is at work

    float sum_g = 0, sum_gx = 0;  // [2]
    float g[kVectors][kWidth], normal[kVectors][kWidth];
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float gradient = to_float(dy[k].element[i]);
        g[k][i] = __fmul_rn(gradient, weight[k][i]);  // 0 in lanes without a column
        normal[k][i] = (to_float(x[k].element[i]) - mean) * rstd;
        sum_g += g[k][i];
        sum_gx = fmaf(g[k][i], normal[k][i], sum_gx);
        dweight[k][i] = fmaf(gradient, normal[k][i], dweight[k][i]);
        dbias[k][i] += gradient;
      }
    }
    sum_g = reduce_warp<Sum>(sum_g);
    sum_gx = reduce_warp<Sum>(sum_gx);
    if (lane % kWarpSize == 0) s_parts[side][threadIdx.x / kWarpSize] = {sum_g, sum_gx};
    barrier_wait(1 + group, lanes);
    float2 sums = {};
    for (int i = 0; i < groups.warps; ++i) {
      sums.x += s_parts[side][first_warp + i].x;
      sums.y += s_parts[side][first_warp + i].y;
    }
    const float mean_g = scale * sums.x, mean_gx = scale * sums.y;

#pragma unroll
    for (int k = 0; k < kVectors; ++k) {  // [3]
      if (!is_inside[k]) continue;
      const int64_t at = row * columns + (k * lanes + lane) * kWidth;
      float dx[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float through = g[k][i] - mean_g - normal[k][i] * mean_gx;
        dx[i] = to_float(from_float<T>(fmaf(rstd, through, to_float(dresidual[k].element[i]))));
      }
      store_floats(p.dx + at, dx);
      if (p.dbranch == nullptr) continue;
      drop.zero_dropped(dx, at);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) dx[i] *= drop.keep_scale();
      store_floats(p.dbranch + at, dx);
    }
  }
  float* partials = p.partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;  // [4]
  write_block_sum(partials, s_sums, dweight, group, lane, groups, columns);
  write_block_sum(partials + columns, s_sums, dbias, group, lane, groups, columns);
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
