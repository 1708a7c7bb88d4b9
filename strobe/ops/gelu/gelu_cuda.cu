// gelu_forward_kernel, gelu_backward_kernel
//
// Computes    y = x·s,  dx = dy·(s + x·s(1 − s)·t′),  s = 1/(1 + e^(−t)) = ½(1 + tanh(t/2)),
//             t = 2√(2/π)(x + 0.044715x³): GELU's tanh form                Hendrycks & Gimpel 2016
// Shapes      all [count], contiguous
// Mapping     one thread, 16 bytes (one element behind the last whole vector)
// Requires    nothing; vectors where all addresses are multiples of 16
// Numerics    f32; s keeps its relative accuracy where 1 + tanh cancels; beyond ±16, s is 1 or 0 in
//             f32, and the clamp keeps x³ finite
// Cost        2 accesses of each element forward, 3 backward
#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/ops/gelu/gelu.h"

namespace strobe {
namespace {

constexpr float kScale = 2 * 0.7978845608f;  // 2√(2/π)
constexpr float kCubic = 0.044715f * kScale;
constexpr float kLog2E = 1.4426950409f;

// By comparison, which a NaN passes.
__device__ __forceinline__ float clamp_to_16(float x) {
  const float below = x > 16.0f ? 16.0f : x;
  return below < -16.0f ? -16.0f : below;
}

// s of a clamped x.
__device__ __forceinline__ float sigmoid_of(float x) {
  const float minus_t_log2 = x * fmaf(x * x, -kCubic * kLog2E, -kScale * kLog2E);
  return __fdividef(1.0f, 1.0f + exp2f(minus_t_log2));
}

__device__ __forceinline__ float gelu(float x) { return x * sigmoid_of(clamp_to_16(x)); }

__device__ __forceinline__ float gelu_derivative(float x) {
  const float c = clamp_to_16(x), s = sigmoid_of(c);
  const float slope = fmaf(c * c, 3 * kCubic, kScale);
  return fmaf(c * s * (1.0f - s), slope, s);
}

template <class T>
__global__ void __launch_bounds__(ElementShares<T>::kThreads)
    gelu_forward_kernel(const T* x, T* y, ElementShares<T> shares) {
  shares.for_mine([&](int64_t first, auto width) {
    float value[width];
    load_floats(value, x + first);
#pragma unroll
    for (int i = 0; i < width; ++i) value[i] = gelu(value[i]);
    store_floats(y + first, value);
  });
}

template <class T>
__global__ void __launch_bounds__(ElementShares<T>::kThreads)
    gelu_backward_kernel(const T* x, const T* dy, T* dx, ElementShares<T> shares) {
  shares.for_mine([&](int64_t first, auto width) {
    float value[width], gradient[width];
    load_floats(value, x + first);
    load_floats(gradient, dy + first);
#pragma unroll
    for (int i = 0; i < width; ++i) gradient[i] *= gelu_derivative(value[i]);
    store_floats(dx + first, gradient);
  });
}

void forward(Context& ctx, const GeluForward& args) {
  with_float_type(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* x = args.x.as<T>();
    T* y = args.y.as<T>();
    const ElementShares<T> shares(args.x.numel(), {x, y});
    launch(ctx, gelu_forward_kernel<T>, shares.grid(), x, y, shares);
  });
}

void backward(Context& ctx, const GeluBackward& args) {
  with_float_type(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    const T *x = args.x.as<T>(), *dy = args.dy.as<T>();
    T* dx = args.dx.as<T>();
    const ElementShares<T> shares(args.x.numel(), {x, dy, dx});
    launch(ctx, gelu_backward_kernel<T>, shares.grid(), x, dy, dx, shares);
  });
}

}  // namespace

std::span<const GeluImpl> gelu_impls_cuda() {
  static constexpr GeluImpl kRows[] = {{"cuda", &why_not_cuda_floats, &forward, &backward}};
  return kRows;
}

}  // namespace strobe
