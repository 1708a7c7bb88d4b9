// The CPU implementations of AdamW: threads share out the elements.
#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/adamw/adamw_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 4096;  // fewer elements are not worth another thread

AdamWConstants constants_of(const AdamWStep& args, bool decays) {
  const double beta1 = args.beta1, beta2 = args.beta2;
  const double rate = *args.learning_rate.as<float>(), step = *args.step.as<int32_t>();
  return {
      .gradient_scale = *args.gradient_scale.as<float>(),
      .beta1 = args.beta1,
      .one_minus_beta1 = static_cast<float>(1 - beta1),
      .beta2 = args.beta2,
      .one_minus_beta2 = static_cast<float>(1 - beta2),
      .decay = decays ? static_cast<float>(1 - rate * args.weight_decay) : 1,
      .step_size = static_cast<float>(rate / (1 - std::pow(beta1, step))),
      .inverse_sqrt_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))),
      .epsilon = args.epsilon,
  };
}

template <const AdamWKernels& kKernels>
void run(Context&, std::span<const AdamWParameter> parameters, const AdamWStep& step) {
  if (*step.is_skipped.as<int32_t>() != 0) return;
  for (const AdamWParameter& p : parameters) {
    const AdamWConstants constants = constants_of(step, p.decays);
    const AdamWArrays arrays = {.gradient = p.gradient.as<float>(),
                                .master = p.master.as<float>(),
                                .m = p.m.as<float>(),
                                .v = p.v.as<float>(),
                                .working = p.working.data,
                                .working_type = p.working.dtype};
    parallel_ranges(p.master.numel(), kGrain, [&](int64_t begin, int64_t end) {
      kKernels.update(constants, arrays, begin, end - begin);
    });
  }
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
