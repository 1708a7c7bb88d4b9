// The CPU implementations of AdamW: threads share out the elements.
#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/adamw/adamw_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 4096;  // fewer elements are not worth another thread

AdamWStep step_of(const AdamW& args) {
  const double beta1 = args.beta1, beta2 = args.beta2, rate = args.learning_rate;
  const auto step = static_cast<double>(args.step);
  return {
      .gradient_scale = args.gradient_scale,
      .beta1 = args.beta1,
      .one_minus_beta1 = static_cast<float>(1 - beta1),
      .beta2 = args.beta2,
      .one_minus_beta2 = static_cast<float>(1 - beta2),
      .decay = static_cast<float>(1 - rate * args.weight_decay),
      .step_size = static_cast<float>(rate / (1 - std::pow(beta1, step))),
      .inverse_sqrt_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))),
      .epsilon = args.epsilon,
  };
}

template <const AdamWKernels& kKernels>
void run(Context&, const AdamW& args) {
  const AdamWStep step = step_of(args);
  bf16* working = args.working.has_data() ? args.working.as<bf16>() : nullptr;
  parallel_ranges(args.master.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kKernels.update(step, args.gradient.as<float>() + begin, args.master.as<float>() + begin,
                    args.m.as<float>() + begin, args.v.as<float>() + begin,
                    working == nullptr ? nullptr : working + begin, end - begin);
  });
}

template <Isa kIsa, const AdamWKernels& kKernels>
constexpr AdamWImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &run<kKernels>};
}

}  // namespace

std::span<const AdamWImpl> adamw_impls_cpu() {
  static constexpr AdamWImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::adamw_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::adamw_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::adamw_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::adamw_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
