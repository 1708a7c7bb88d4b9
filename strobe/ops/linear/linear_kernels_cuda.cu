// sum_columns_kernel, then join_sums_kernel; beside them round_kernel, gelu_kernel and
// gelu_derivative_kernel, a thread an element
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
#include "strobe/gpu/gelu.cuh"
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
constexpr int kMostGridRows = 65535;  // of blocks

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

// A matrix whose rows may have gaps between them, row after row of blocks.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
  static Rows of(const Tensor& t) { return {t.as<T>(), t.strides[0]}; }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    gelu_kernel(Rows<T> x, Rows<T> y, int rows, int columns) {
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= columns) return;
  for (int row = blockIdx.y; row < rows; row += gridDim.y) {
    y.data[row * y.stride + column] =
        from_float<T>(Gelu::value(to_float(x.data[row * x.stride + column])));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gelu_derivative_kernel(Rows<T> x, Rows<T> dy, int rows, int columns) {
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= columns) return;
  for (int row = blockIdx.y; row < rows; row += gridDim.y) {
    T& gradient = dy.data[row * dy.stride + column];
    const float derivative = Gelu::derivative(to_float(x.data[row * x.stride + column]));
    gradient = from_float<T>(to_float(gradient) * derivative);
  }
}

int blocks_for(int64_t count, int64_t of_block) {
  return static_cast<int>((count + of_block - 1) / of_block);
}

Launch for_rows(const Tensor& t) {
  return {.grid = dim3(blocks_for(t.shape[1], kThreads),
                       static_cast<unsigned>(std::min<int64_t>(t.shape[0], kMostGridRows))),
          .block = dim3(kThreads)};
}

}  // namespace

void sum_columns(Context& ctx, const Tensor& x, const Tensor& sums, bool accumulate) {
  const int rows = static_cast<int>(x.shape[0]), columns = static_cast<int>(x.shape[1]);
  const int parts = blocks_for(rows, kRowsOfPart);
  const Arena::Scope scope(ctx.arena());
  const Tensor memory = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, columns});
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool is_aligned = reinterpret_cast<uintptr_t>(x.data) % (kWidth * sizeof(T)) == 0 &&
                            x.strides[0] % kWidth == 0;
    for (int begin = 0; begin < parts; begin += kMostGridRows) {
      const int64_t first = static_cast<int64_t>(begin) * kRowsOfPart;
      const ColumnSums<T> in = {x.as<T>() + first * x.strides[0], x.strides[0],
                                static_cast<int>(rows - first), columns, is_aligned};
      const Launch shape = {
          .grid = dim3(blocks_for(columns, kBlockColumns), std::min(parts - begin, kMostGridRows)),
          .block = dim3(kThreads)};
      launch(ctx, sum_columns_kernel<T>, shape, in,
             memory.as<float>() + static_cast<int64_t>(begin) * columns);
    }
  });
  launch(ctx, join_sums_kernel,
         {.grid = dim3(blocks_for(columns, kJoinedColumns)),
          .block = dim3(kJoinedColumns * kJoiningGroups)},
         memory.as<float>(), parts, columns, sums.as<float>(), accumulate);
}

void apply_gelu(Context& ctx, const Tensor& x, const Tensor& y) {
  const int rows = static_cast<int>(x.shape[0]), columns = static_cast<int>(x.shape[1]);
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(ctx, gelu_kernel<T>, for_rows(x), Rows<T>::of(x), Rows<T>::of(y), rows, columns);
  });
}

void multiply_by_gelu_derivative(Context& ctx, const Tensor& x, const Tensor& dy) {
  const int rows = static_cast<int>(x.shape[0]), columns = static_cast<int>(x.shape[1]);
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(ctx, gelu_derivative_kernel<T>, for_rows(x), Rows<T>::of(x), Rows<T>::of(dy), rows,
           columns);
  });
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
