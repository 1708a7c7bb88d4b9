// What the two kernels for few rows share.
#pragma once

#include "strobe/gpu/gelu.cuh"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/linear/linear.h"

namespace strobe {

constexpr int kFewRowsWidth =
    8;  // columns (or inner elements) of a weight that a thread has at once

// A call for up to kRows rows, as a kernel sees it.
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
  bool is_aligned;  // x and weight can be read in vectors

  __device__ __forceinline__ void store(void* to, int64_t at, float value) const {
    if (is_f32) {
      static_cast<float*>(to)[at] = value;
    } else {
      static_cast<X*>(to)[at] = from_float<X>(value);
    }
  }

  // y[row, column] of the product.
  __device__ __forceinline__ void finish(int row, int column, float sum) const {
    if (bias != nullptr) sum += bias[column];
    if (pre_activation != nullptr) {
      store(pre_activation, row * pre_activation_stride + column, sum);
    }
    store(y, row * y_stride + column, gelu ? Gelu::value(sum) : sum);
  }
};

// The first `count` of kCount neighbours; zeros for the rest, which are not read.
template <int kCount, class T>
__device__ __forceinline__ Vector<T, kCount> load_some(const T* from, int count, bool is_aligned) {
  if (is_aligned && count >= kCount) return load_vector<T, kCount>(from);
  Vector<T, kCount> vector;
#pragma unroll
  for (int i = 0; i < kCount; ++i) vector.element[i] = i < count ? from[i] : T{};
  return vector;
}

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

// By rows: weight[k, n] lies at k·weight_stride + n. By columns: at n·weight_stride + k.
template <class X, class W>
void launch_few_rows_by_rows(Context& ctx, const FewRows<X, W>& call);
template <class X, class W>
void launch_few_rows_by_columns(Context& ctx, const FewRows<X, W>& call);

}  // namespace strobe
