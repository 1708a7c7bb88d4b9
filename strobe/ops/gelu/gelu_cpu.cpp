// The CPU implementations of GELU: threads share out the elements.
#include "strobe/core/parallel.h"
#include "strobe/ops/gelu/gelu.h"
#include "strobe/ops/gelu/gelu_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 4096;  // fewer elements are not worth another thread

template <const KernelTable<GeluKernels>& kKernels>
void forward(Context&, const GeluForward& args) {
  with_f32_or_bf16(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_ranges(args.x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      kKernels.of<T>().forward(args.x.as<T>() + begin, args.y.as<T>() + begin, end - begin);
    });
  });
}

template <const KernelTable<GeluKernels>& kKernels>
void backward(Context&, const GeluBackward& args) {
  with_f32_or_bf16(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_ranges(args.x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      kKernels.of<T>().backward(args.x.as<T>() + begin, args.dy.as<T>() + begin,
                                args.dx.as<T>() + begin, end - begin);
    });
  });
}

template <Isa kIsa, const KernelTable<GeluKernels>& kKernels>
constexpr GeluImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &forward<kKernels>, &backward<kKernels>};
}

}  // namespace

std::span<const GeluImpl> gelu_impls_cpu() {
  static constexpr GeluImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::gelu_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::gelu_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::gelu_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::gelu_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
