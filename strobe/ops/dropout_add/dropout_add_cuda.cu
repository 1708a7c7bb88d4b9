// dropout_add_kernel
//
// Computes    y = residual + Z∘x,  Z = 0 where the element's random byte < threshold, else 1/keep
// Shapes      x, residual, y [count], contiguous
// Mapping     one thread, 16 bytes (one element behind the last whole vector)
// Requires    nothing; vectors where all three addresses are multiples of 16
// Numerics    f32, one rounding; a dropped NaN or infinity becomes 0
// Cost        3 accesses of each element; a Philox counter decides 16 elements and is computed by
//             each of the 2 (f32: 4) threads that share it
#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/dropout.cuh"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/ops/dropout_add/dropout_add.h"

namespace strobe {
namespace {

template <class T>
__global__ void __launch_bounds__(ElementShares<T>::kThreads)
    dropout_add_kernel(const T* x, const T* residual, T* y, ElementShares<T> shares,
                       Dropout dropout) {
  shares.for_mine([&](int64_t first, auto width) {
    float kept[width], sum[width] = {};
    load_floats(kept, x + first);
    if (residual != nullptr) load_floats(sum, residual + first);
    const ElementDropout drop(dropout);
    drop.zero_dropped(kept, first);
#pragma unroll
    for (int i = 0; i < width; ++i) sum[i] = fmaf(kept[i], drop.keep_scale(), sum[i]);
    store_floats(y + first, sum);
  });
}

void run(Context& ctx, const Tensor& x, const Tensor& residual, const Tensor& y,
         const Dropout& dropout) {
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* base = residual.has_data() ? residual.as<T>() : nullptr;
    const ElementShares<T> shares(x.numel(), {x.as<T>(), base, y.as<T>()});
    launch(ctx, dropout_add_kernel<T>, shares.grid(), x.as<T>(), base, y.as<T>(), shares, dropout);
  });
}

void forward(Context& ctx, const DropoutAddForward& args) {
  run(ctx, args.x, args.residual, args.y, args.dropout);
}

void backward(Context& ctx, const DropoutAddBackward& args) {
  run(ctx, args.dy, {}, args.dx, args.dropout);
}

}  // namespace

std::span<const DropoutAddImpl> dropout_add_impls_cuda() {
  static constexpr DropoutAddImpl kRows[] = {{"cuda", &why_not_cuda_floats, &forward, &backward}};
  return kRows;
}

}  // namespace strobe
