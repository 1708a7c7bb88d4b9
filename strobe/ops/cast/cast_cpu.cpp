// The CPU implementations of cast: threads share out the elements. There is none for AVX512-BF16,
// whose conversion flushes subnormal numbers to 0.
#include "strobe/core/parallel.h"
#include "strobe/ops/cast/cast.h"
#include "strobe/ops/cast/cast_kernels.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 8192;  // fewer elements are not worth another thread

template <const CastKernels& kKernels>
void run(Context&, const Cast& args) {
  const size_t from_size = size_of(args.from.dtype), to_size = size_of(args.to.dtype);
  parallel_ranges(args.from.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kKernels.convert(static_cast<const char*>(args.from.data) + begin * from_size, args.from.dtype,
                     static_cast<char*>(args.to.data) + begin * to_size, args.to.dtype,
                     end - begin);
  });
}

template <Isa kIsa>
std::string why_not(DType, const Device& device) {
  return why_not_isa(kIsa, device);
}

template <Isa kIsa, const CastKernels& kKernels>
constexpr CastImpl row(std::string_view name) {
  return {name, &why_not<kIsa>, &run<kKernels>};
}

}  // namespace

std::span<const CastImpl> cast_impls() {
  static constexpr CastImpl kRows[] = {
      row<Isa::avx512, avx512::cast_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::cast_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::cast_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
