// few_rows_by_rows_kernel
//
// Computes    y = x·weight + bias, then GELU, for up to kRows rows of x
// Shapes      x [M, K]  weight [K, N], by rows  bias [N]  →  y [M, N]
// Mapping     one block 16 columns, so that all of a small weight is in flight at once; a thread 8
//             columns of kDepth neighbouring rows of the weight, and again; all rows of x
// Shared      the warps' sums
// Steps       [1] multiply  [2] add up in warps  [3] add up the warps' sums and finish
// Requires    nothing; vectors where addresses are multiples of 16 bytes
// Numerics    f32, in an order that K alone decides: the bits of a row do not depend on others
// Cost        reads the weight once
#include <algorithm>

#include "strobe/ops/linear/linear_few_rows_cuda.cuh"

namespace strobe {
namespace {

constexpr int kMostThreads = 512;
constexpr int kVectors = 2;  // of kFewRowsWidth columns, side by side
constexpr int kBlockColumns = kVectors * kFewRowsWidth;
constexpr int kMostWarps = kMostThreads / kWarpSize;
template <class W>
constexpr int kDepth = 16 / static_cast<int>(sizeof(W));  // 128 bytes of a thread

// The products of kDepth rows of the weight from `first` on and 8 columns. All loads of the weight
// come before the first use of one; with many rows, whose sums take the registers, of half of them.
template <class X, class W, int kRows>
__device__ __forceinline__ void add_whole(float (&sum)[kRows][kFewRowsWidth],
                                          const FewRows<X, W>& call, int first, int column) {
  constexpr int kAtOnce = kRows <= 4 ? kDepth<W> : 4;
#pragma unroll
  for (int part = 0; part < kDepth<W>; part += kAtOnce) {
    Vector<W, kFewRowsWidth> weight[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      weight[k] = load_vector<W, kFewRowsWidth>(call.weight +
                                                (first + part + k) * call.weight_stride + column);
    }
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const auto x =
          load_vector<X, kAtOnce>(call.x + min(row, call.rows - 1) * call.x_stride + first + part);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
#pragma unroll
        for (int c = 0; c < kFewRowsWidth; ++c) {
          sum[row][c] = fmaf(to_float(x.element[k]), to_float(weight[k].element[c]), sum[row][c]);
        }
      }
    }
  }
}

// The same, one by one, of what there is.
template <class X, class W, int kRows>
__device__ __forceinline__ void add_part(float (&sum)[kRows][kFewRowsWidth],
                                         const FewRows<X, W>& call, int first, int column,
                                         int columns) {
  const int end = min(first + kDepth<W>, call.inner);
  for (int k = first; k < end; ++k) {
#pragma unroll
    for (int c = 0; c < kFewRowsWidth; ++c) {
      if (c >= columns) break;
      const float weight = to_float(call.weight[k * call.weight_stride + column + c]);
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        const X* x = call.x + min(row, call.rows - 1) * call.x_stride;
        sum[row][c] = fmaf(to_float(x[k]), weight, sum[row][c]);
      }
    }
  }
}

template <class X, class W, int kRows>
__global__ void __launch_bounds__(kMostThreads) few_rows_by_rows_kernel(FewRows<X, W> call) {
  __shared__ float shared[kMostWarps][kRows][kBlockColumns];
  const int column = blockIdx.x * kBlockColumns + threadIdx.x % kVectors * kFewRowsWidth;
  const int step = static_cast<int>(blockDim.x) / kVectors * kDepth<W>;
  float sum[kRows][kFewRowsWidth] = {};

  // [1] multiply
  const int columns = min(kFewRowsWidth, call.columns - column);
  for (int first = threadIdx.x / kVectors * kDepth<W>; first < call.inner; first += step) {
    if (call.is_aligned && columns == kFewRowsWidth && first + kDepth<W> <= call.inner) {
      add_whole<X, W, kRows>(sum, call, first, column);
    } else {
      add_part<X, W, kRows>(sum, call, first, column, columns);
    }
  }

  // [2] add up in warps: lanes of the same columns are 2, 4, 8 and 16 apart; three steps leave each
  // of them one column
  static_assert(kVectors == 2 && kFewRowsWidth == 8);
  const int lane = threadIdx.x % kWarpSize;
  const int own = (lane & 16) / 4 + (lane & 8) / 4 + (lane & 4) / 4;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    sum_halves<8>(sum[row], 16);
    sum_halves<4>(sum[row], 8);
    sum_halves<2>(sum[row], 4);
    const float total = sum[row][0] + __shfl_xor_sync(kFullWarp, sum[row][0], 2);
    if ((lane & 2) == 0) {
      shared[threadIdx.x / kWarpSize][row][lane % kVectors * kFewRowsWidth + own] = total;
    }
  }
  __syncthreads();

  // [3] add up the warps' sums and finish
  for (int i = threadIdx.x; i < kRows * kBlockColumns; i += blockDim.x) {
    const int row = i / kBlockColumns, c = i % kBlockColumns;
    const int n = blockIdx.x * kBlockColumns + c;
    if (row >= call.rows || n >= call.columns) continue;
    float total = 0;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarpSize; ++warp) {
      total += shared[warp][row][c];
    }
    call.finish(row, n, total);
  }
}

}  // namespace

template <class X, class W>
void launch_few_rows_by_rows(Context& ctx, const FewRows<X, W>& call) {
  const int wanted = (call.inner + kDepth<W> - 1) / kDepth<W> * kVectors;
  const int threads = std::min(kMostThreads, (wanted + kWarpSize - 1) / kWarpSize * kWarpSize);
  const Launch shape = {.grid = dim3((call.columns + kBlockColumns - 1) / kBlockColumns),
                        .block = dim3(threads)};
  if (call.rows == 1) {
    launch(ctx, few_rows_by_rows_kernel<X, W, 1>, shape, call);
  } else if (call.rows <= 4) {
    launch(ctx, few_rows_by_rows_kernel<X, W, 4>, shape, call);
  } else {
    launch(ctx, few_rows_by_rows_kernel<X, W, 8>, shape, call);
  }
}

template void launch_few_rows_by_rows(Context&, const FewRows<float, float>&);
template void launch_few_rows_by_rows(Context&, const FewRows<float, f16>&);
template void launch_few_rows_by_rows(Context&, const FewRows<float, bf16>&);
template void launch_few_rows_by_rows(Context&, const FewRows<f16, f16>&);
template void launch_few_rows_by_rows(Context&, const FewRows<bf16, bf16>&);

}  // namespace strobe
