// few_rows_by_columns_kernel
//
// Computes    y = x·weight + bias, then GELU, for up to kRows rows of x
// Shapes      x [M, K]  weight [K, N], by columns  bias [N]  →  y [M, N]
// Mapping     one warp kColumns columns of the weight, a lane 8 neighbours of each, then those 256
//             further; all rows of x
// Steps       [1] multiply  [2] add up in warps and finish
// Requires    nothing; vectors where addresses are multiples of 16 bytes
// Numerics    f32, in an order that K alone decides: the bits of a row do not depend on others
// Cost        reads the weight once; x comes from the nearest cache, once for kColumns columns
#include "strobe/ops/linear/linear_few_rows_cuda.cuh"

namespace strobe {
namespace {

constexpr int kThreads = 128;
constexpr int kColumns = 4;
constexpr int kBlockColumns = kThreads / kWarpSize * kColumns;

// The products of 8 elements of each column from `first` on.
template <class X, class W, int kRows>
__device__ __forceinline__ void add_whole(float (&sum)[kRows][kColumns], const FewRows<X, W>& call,
                                          const W* const (&lines)[kColumns], int first) {
  Vector<W, kFewRowsWidth> weight[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) weight[c] = load_vector<W, kFewRowsWidth>(lines[c] + first);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const auto x =
        load_vector<X, kFewRowsWidth>(call.x + min(row, call.rows - 1) * call.x_stride + first);
#pragma unroll
    for (int k = 0; k < kFewRowsWidth; ++k) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        sum[row][c] = fmaf(to_float(x.element[k]), to_float(weight[c].element[k]), sum[row][c]);
      }
    }
  }
}

// The same, one by one, of what there is.
template <class X, class W, int kRows>
__device__ __forceinline__ void add_part(float (&sum)[kRows][kColumns], const FewRows<X, W>& call,
                                         const W* const (&lines)[kColumns], int first) {
  const int end = min(first + kFewRowsWidth, call.inner);
  for (int k = first; k < end; ++k) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const float x = to_float(call.x[min(row, call.rows - 1) * call.x_stride + k]);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sum[row][c] = fmaf(x, to_float(lines[c][k]), sum[row][c]);
    }
  }
}

template <class X, class W, int kRows>
__global__ void __launch_bounds__(kThreads) few_rows_by_columns_kernel(FewRows<X, W> call) {
  const int lane = threadIdx.x % kWarpSize;
  const int begin = (blockIdx.x * (kThreads / kWarpSize) + threadIdx.x / kWarpSize) * kColumns;
  float sum[kRows][kColumns] = {};
  const W* lines[kColumns];  // one behind the last is not used: any will do
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    lines[c] = call.weight + min(begin + c, call.columns - 1) * call.weight_stride;
  }

  // [1] multiply
#pragma unroll(kRows == 1 ? 4 : 1)
  for (int first = lane * kFewRowsWidth; first < call.inner; first += kWarpSize * kFewRowsWidth) {
    if (call.is_aligned && first + kFewRowsWidth <= call.inner) {
      add_whole<X, W, kRows>(sum, call, lines, first);
    } else {
      add_part<X, W, kRows>(sum, call, lines, first);
    }
  }

  // [2] add up in warps, two steps of which leave each lane one column, and finish
  static_assert(kColumns == 4);
  const int own = begin + (lane & 16) / 8 + (lane & 8) / 8;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    sum_halves<4>(sum[row], 16);
    sum_halves<2>(sum[row], 8);
    const float total = reduce_warp<Sum, 8>(sum[row][0]);
    if (lane % 8 == 0 && own < call.columns && row < call.rows) call.finish(row, own, total);
  }
}

}  // namespace

template <class X, class W>
void launch_few_rows_by_columns(Context& ctx, const FewRows<X, W>& call) {
  const Launch shape = {.grid = dim3((call.columns + kBlockColumns - 1) / kBlockColumns),
                        .block = dim3(kThreads)};
  if (call.rows == 1) {
    launch(ctx, few_rows_by_columns_kernel<X, W, 1>, shape, call);
  } else if (call.rows <= 4) {
    launch(ctx, few_rows_by_columns_kernel<X, W, 4>, shape, call);
  } else {
    launch(ctx, few_rows_by_columns_kernel<X, W, 8>, shape, call);
  }
}

template void launch_few_rows_by_columns(Context&, const FewRows<float, float>&);
template void launch_few_rows_by_columns(Context&, const FewRows<float, f16>&);
template void launch_few_rows_by_columns(Context&, const FewRows<float, bf16>&);
template void launch_few_rows_by_columns(Context&, const FewRows<f16, f16>&);
template void launch_few_rows_by_columns(Context&, const FewRows<bf16, bf16>&);

}  // namespace strobe
