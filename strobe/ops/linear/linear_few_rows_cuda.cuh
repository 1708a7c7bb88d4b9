// What the kernels for few rows share.
#pragma once

#include "strobe/gpu/gelu.cuh"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/linear/linear.h"

namespace strobe {

// A call as a kernel sees it. Of a weight by rows, [k, n] lies at k·weight_stride + n; of one by
// columns, at n·weight_stride + k.
template <class X, class W>
struct FewRows {
  const X* x;
  const W* weight;
  const float* bias;         // or null
  void *y, *pre_activation;  // of X, or f32; pre_activation may be null
  int64_t x_stride, weight_stride, y_stride, pre_activation_stride;
  int rows, inner, columns;
  bool is_f32;  // y and pre_activation
  bool gelu;
  bool is_aligned = false;  // for vectors; which factors and how wide, the kernel says

  explicit FewRows(const LinearForward& args)
      : x(args.x.as<X>()),
        weight(args.weight.as<W>()),
        bias(args.bias.has_data() ? args.bias.as<float>() : nullptr),
        y(args.y.data),
        pre_activation(args.pre_activation.data),
        x_stride(args.x.strides[0]),
        weight_stride(args.weight.strides[args.weight.strides[1] == 1 ? 0 : 1]),
        y_stride(args.y.strides[0]),
        pre_activation_stride(args.pre_activation.strides[0]),
        rows(static_cast<int>(args.x.shape[0])),
        inner(static_cast<int>(args.x.shape[1])),
        columns(static_cast<int>(args.weight.shape[1])),
        is_f32(args.y.dtype == DType::f32),
        gelu(args.gelu) {}

  __device__ __forceinline__ void store(void* to, int64_t at, float value) const {
    if (is_f32) {
      static_cast<float*>(to)[at] = value;
    } else {
      static_cast<X*>(to)[at] = from_float<X>(value);
    }
  }

  // y[row, column], given that of the product.
  __device__ __forceinline__ void finish(int row, int column, float sum) const {
    if (bias != nullptr) sum += bias[column];
    if (pre_activation != nullptr) {
      store(pre_activation, row * pre_activation_stride + column, sum);
    }
    store(y, row * y_stride + column, gelu ? Gelu::value(sum) : sum);
  }
};

// One step of a sum over lanes that also shares out its terms: of kCount values (an even number),
// a lane keeps the sums of the first or of the second half, as its bit `offset` says.
template <int kCount>
__device__ __forceinline__ void sum_halves(float* values, int offset) {
  const bool keeps_second = (threadIdx.x & offset) != 0;
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const float given = keeps_second ? values[i] : values[i + kCount / 2];
    const float kept = keeps_second ? values[i + kCount / 2] : values[i];
    values[i] = kept + __shfl_xor_sync(kFullWarp, given, offset);
  }
}

// Of the kernels without tensor cores: columns (or inner elements) that a thread has at once.
constexpr int kFewRowsWidth = 8;

template <class X, class W>
void launch_few_rows_by_rows(Context& ctx, const FewRows<X, W>& call);
template <class X, class W>
void launch_few_rows_by_columns(Context& ctx, const FewRows<X, W>& call);

}  // namespace strobe
