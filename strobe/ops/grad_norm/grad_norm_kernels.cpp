// The sum of squares in double: f32 squares are exact there, and cannot overflow.
#include "strobe/ops/grad_norm/grad_norm_kernels.h"

#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

double sum_of_squares(const float* x, int64_t count) {
  typedef double F64 __attribute__((vector_size(kLanes * 8)));
  F64 sum{};
  for_vectors(count, [&](int64_t i, auto lanes) {
    const F64 wide = __builtin_convertvector(lanes.load(x + i), F64);
    sum += wide * wide;
  });
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += sum[i];
  return total;
}

}  // namespace

constinit const GradNormKernels grad_norm_kernels = {&sum_of_squares};

}  // namespace strobe::STROBE_ISA
