// adamw
//
// Computes    the update of adamw.h in one pass: 28 bytes an element move (16 read, 12 written),
//             and 2 more for the working copy, so memory bounds it. Non-temporal stores do not
//             help: the lines are in the cache, having just been read (0.94 of the speed, Zen 5)
#include "strobe/ops/adamw/adamw_kernels.h"

#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"

namespace strobe::STROBE_ISA {
namespace {

template <class Working>
void update_array(const AdamWConstants& constants, const AdamWArrays& arrays, int64_t begin,
                  int64_t count) {
  const AdamWConstants c = constants;
  const float* gradient = arrays.gradient + begin;
  float *master = arrays.master + begin, *m = arrays.m + begin, *v = arrays.v + begin;
  Working* working =
      arrays.working == nullptr ? nullptr : static_cast<Working*>(arrays.working) + begin;
  for_vectors(count, [&](int64_t i, auto lanes) {
    const F32 g = lanes.load(gradient + i) * broadcast(c.gradient_scale);
    const F32 first = fma(lanes.load(m + i), broadcast(c.beta1), g * broadcast(c.one_minus_beta1));
    const F32 second =
        fma(lanes.load(v + i), broadcast(c.beta2), g * g * broadcast(c.one_minus_beta2));
    const F32 root = fma(sqrt(second), broadcast(c.inverse_sqrt_correction), broadcast(c.epsilon));
    const F32 weight =
        fma(first / root, broadcast(-c.step_size), lanes.load(master + i) * broadcast(c.decay));
    lanes.store(m + i, first);
    lanes.store(v + i, second);
    lanes.store(master + i, weight);
    if (working != nullptr) lanes.store(working + i, weight);
  });
}

void update(const AdamWConstants& constants, const AdamWArrays& arrays, int64_t begin,
            int64_t count) {
  if (arrays.working_type == DType::f16) {
    update_array<f16>(constants, arrays, begin, count);
  } else {
    update_array<bf16>(constants, arrays, begin, count);
  }
}

}  // namespace

constinit const AdamWKernels adamw_kernels = {&update};

}  // namespace strobe::STROBE_ISA
