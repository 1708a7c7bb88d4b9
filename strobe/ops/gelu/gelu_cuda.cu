// gelu_forward_kernel, gelu_backward_kernel
//
// Computes    y = gelu(x),  dx = dy·gelu′(x) in GELU's tanh form (strobe/gpu/gelu.cuh)
// Shapes      all [count], contiguous
// Mapping     one thread, 16 bytes (one element behind the last whole vector)
// Requires    nothing; vectors where all addresses are multiples of 16
// Numerics    f32
// Cost        2 accesses of each element forward, 3 backward
#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/gelu.cuh"
#include "strobe/ops/gelu/gelu.h"

namespace strobe {
namespace {

template <class T>
__global__ void __launch_bounds__(ElementShares<T>::kThreads)
    gelu_forward_kernel(const T* x, T* y, ElementShares<T> shares) {
  shares.for_mine([&](int64_t first, auto width) {
    float value[width];
    load_floats(value, x + first);
#pragma unroll
    for (int i = 0; i < width; ++i) value[i] = Gelu::value(value[i]);
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
    for (int i = 0; i < width; ++i) gradient[i] *= Gelu::derivative(value[i]);
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
