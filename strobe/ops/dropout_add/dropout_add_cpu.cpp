// The CPU implementations of dropout_add: threads share out the elements; an element's fate depends
// on its position alone.
#include "strobe/core/parallel.h"
#include "strobe/ops/dropout_add/dropout_add.h"
#include "strobe/ops/dropout_add/dropout_add_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 16 * kDropoutAddGrain;  // fewer are not worth another thread

template <class T>
void run(const DropoutAddKernels<T>& kernels, const Tensor& x, const Tensor& residual,
         const Tensor& y, const Dropout& dropout) {
  const T* base = residual.has_data() ? residual.as<T>() : nullptr;
  parallel_ranges(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels.run(x.as<T>() + begin, base == nullptr ? nullptr : base + begin, y.as<T>() + begin,
                begin, end - begin, dropout);
  });
}

template <const KernelTable<DropoutAddKernels>& kKernels>
void forward(Context&, const DropoutAddForward& args) {
  with_f32_or_bf16(args.x.dtype, [&](auto type) {
    run(kKernels.of<decltype(type)>(), args.x, args.residual, args.y,
        args.dropout.with_key_at_hand());
  });
}

template <const KernelTable<DropoutAddKernels>& kKernels>
void backward(Context&, const DropoutAddBackward& args) {
  with_f32_or_bf16(args.dy.dtype, [&](auto type) {
    run(kKernels.of<decltype(type)>(), args.dy, Tensor{}, args.dx, args.dropout.with_key_at_hand());
  });
}

template <Isa kIsa, const KernelTable<DropoutAddKernels>& kKernels>
constexpr DropoutAddImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &forward<kKernels>, &backward<kKernels>};
}

}  // namespace

std::span<const DropoutAddImpl> dropout_add_impls_cpu() {
  static constexpr DropoutAddImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::dropout_add_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::dropout_add_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::dropout_add_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::dropout_add_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
