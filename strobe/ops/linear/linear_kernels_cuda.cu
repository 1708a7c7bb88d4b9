// sum_columns_kernel, then join_sums_kernel; round_kernel
//
// Computes    sums[n] (+)= Σ x[m, n] over the rows m
// Shapes      x [M, N], rows contiguous  →  partial sums [parts, N] f32  →  sums [N] f32
// Mapping     sum_columns_kernel: one block kRowsOfPart rows of 256 columns, a thread 8 columns of
//             every 8th row. join_sums_kernel: one block 32 columns, a thread every 32nd part
// Shared      the warps' sums
// Requires    nothing; vectors where addresses are multiples of 16 bytes
// Numerics    f32, in an order that M alone decides
// Cost        reads x once
#include <algorithm>

#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/linear/linear_cuda.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kWidth = 8;  // columns of a thread
constexpr int kBlockColumns = kWarpSize * kWidth;
constexpr int kRowsOfPart = 64;
constexpr int kJoinedColumns = 32, kJoiningGroups = 32;

template <class T>
struct ColumnSums {
  const T* x;
  int64_t stride;
  int rows, columns;
  bool is_aligned;
};

template <class T>
__global__ void __launch_bounds__(kThreads) sum_columns_kernel(ColumnSums<T> in, float* parts) {
  __shared__ float shared[kWarps][kBlockColumns];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int column = blockIdx.x * kBlockColumns + lane * kWidth;
  const int first = blockIdx.y * kRowsOfPart;
  const int columns = min(kWidth, in.columns - column);
  float sum[kWidth] = {};
#pragma unroll
  for (int i = 0; i < kRowsOfPart; i += kWarps) {
    const int row = first + i + warp;
    if (row >= in.rows) break;
    const T* from = in.x + row * in.stride + column;
    if (in.is_aligned && columns == kWidth) {
      float x[kWidth];
      load_floats(x, from);
#pragma unroll
      for (int c = 0; c < kWidth; ++c) sum[c] += x[c];
    } else {
      for (int c = 0; c < columns; ++c) sum[c] += to_float(from[c]);
    }
  }
  store_floats(&shared[warp][lane * kWidth], sum);
  __syncthreads();
  const int own = blockIdx.x * kBlockColumns + threadIdx.x;
  if (own >= in.columns) return;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) total += shared[i][threadIdx.x];
  parts[static_cast<int64_t>(blockIdx.y) * in.columns + own] = total;
}

__global__ void __launch_bounds__(kJoinedColumns* kJoiningGroups)
    join_sums_kernel(const float* parts, int count, int columns, float* sums, bool accumulate) {
  __shared__ float shared[kJoiningGroups][kJoinedColumns];
  const int group = threadIdx.x / kJoinedColumns, lane = threadIdx.x % kJoinedColumns;
  const int column = blockIdx.x * kJoinedColumns + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int part = group; part < count; part += kJoiningGroups) {
      sum += parts[static_cast<int64_t>(part) * columns + column];
    }
  }
  shared[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= columns) return;
  float total = accumulate ? sums[column] : 0.0f;
#pragma unroll
  for (int i = 0; i < kJoiningGroups; ++i) total += shared[i][lane];
  sums[column] = total;
}

template <class T>
__global__ void __launch_bounds__(kThreads) round_kernel(const float* from, T* to, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) to[i] = from_float<T>(from[i]);
}

int blocks_for(int64_t count, int64_t of_block) {
  return static_cast<int>((count + of_block - 1) / of_block);
}

}  // namespace

void sum_columns(Context& ctx, const Tensor& x, const Tensor& sums, bool accumulate) {
  const int rows = static_cast<int>(x.shape[0]), columns = static_cast<int>(x.shape[1]);
  const int parts = blocks_for(rows, kRowsOfPart);
  const Arena::Scope scope(ctx.arena());
  const Tensor memory = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, columns});
  const Launch shape = {.grid = dim3(blocks_for(columns, kBlockColumns), parts),
                        .block = dim3(kThreads)};
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool is_aligned = reinterpret_cast<uintptr_t>(x.data) % (kWidth * sizeof(T)) == 0 &&
                            x.strides[0] % kWidth == 0;
    const ColumnSums<T> in = {x.as<T>(), x.strides[0], rows, columns, is_aligned};
    launch(ctx, sum_columns_kernel<T>, shape, in, memory.as<float>());
  });
  launch(ctx, join_sums_kernel,
         {.grid = dim3(blocks_for(columns, kJoinedColumns)),
          .block = dim3(kJoinedColumns * kJoiningGroups)},
         memory.as<float>(), parts, columns, sums.as<float>(), accumulate);
}

Tensor rounded_bias(Context& ctx, const Tensor& bias, DType dtype) {
  if (!bias.has_data() || dtype == DType::f32) return bias;
  const Tensor rounded = ctx.arena().allocate(MemoryUse::workspace, dtype, bias.shape);
  const int columns = static_cast<int>(bias.shape[0]);
  const Launch shape = {.grid = dim3(blocks_for(columns, kThreads)), .block = dim3(kThreads)};
  with_float_type(dtype, [&](auto type) {
    using T = decltype(type);
    launch(ctx, round_kernel<T>, shape, bias.as<float>(), rounded.as<T>(), columns);
  });
  return rounded;
}

}  // namespace strobe
