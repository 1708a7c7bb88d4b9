// The CPU implementations of AdamW: threads share out the elements.
#include "strobe/core/parallel.h"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/adamw/adamw_constants.h"
#include "strobe/ops/adamw/adamw_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 4096;  // fewer elements are not worth another thread

AdamWRates rates_of(const AdamWStep& step) {
  return {.learning_rate = *step.learning_rate.as<float>(),
          .gradient_scale = *step.gradient_scale.as<float>(),
          .step = static_cast<double>(*step.step.as<int32_t>()),
          .beta1 = step.beta1,
          .beta2 = step.beta2,
          .epsilon = step.epsilon,
          .weight_decay = step.weight_decay};
}

template <const AdamWKernels& kKernels>
void run(Context&, std::span<const AdamWParameter> parameters, const AdamWStep& step) {
  if (*step.is_skipped.as<int32_t>() != 0) return;
  for (const AdamWParameter& p : parameters) {
    const AdamWConstants constants = constants_of(rates_of(step), p.decays);
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
