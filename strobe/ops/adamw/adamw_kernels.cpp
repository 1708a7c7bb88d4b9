// adamw
//
// Computes    the update of adamw.h in one pass: 28 bytes an element move (16 read, 12 written),
//             and 2 more for the working copy, so memory bounds it. Non-temporal stores do not
//             help: the lines are in the cache, having just been read (0.94 of the speed, Zen 5)
#include "strobe/ops/adamw/adamw_kernels.h"

#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"

namespace strobe::STROBE_ISA {
namespace {

void update(const AdamWStep& step, const float* gradient, float* master, float* m, float* v,
            bf16* working, int64_t count) {
  const AdamWStep s = step;
  for_vectors(count, [&](int64_t i, auto lanes) {
    const F32 g = lanes.load(gradient + i) * broadcast(s.gradient_scale);
    const F32 first = fma(lanes.load(m + i), broadcast(s.beta1), g * broadcast(s.one_minus_beta1));
    const F32 second =
        fma(lanes.load(v + i), broadcast(s.beta2), g * g * broadcast(s.one_minus_beta2));
    const F32 root = fma(sqrt(second), broadcast(s.inverse_sqrt_correction), broadcast(s.epsilon));
    const F32 weight =
        fma(first / root, broadcast(-s.step_size), lanes.load(master + i) * broadcast(s.decay));
    lanes.store(m + i, first);
    lanes.store(v + i, second);
    lanes.store(master + i, weight);
    if (working != nullptr) lanes.store(working + i, weight);
  });
}

}  // namespace

constinit const AdamWKernels adamw_kernels = {&update};

}  // namespace strobe::STROBE_ISA
