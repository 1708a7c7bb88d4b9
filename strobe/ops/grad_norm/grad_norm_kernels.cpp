// The sum of squares in double: f32 squares are exact there, and cannot overflow.
#include "strobe/ops/grad_norm/grad_norm_kernels.h"

#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr int kHalf = kLanes / 2;
typedef double F64 __attribute__((vector_size(kHalf * 8)));

// Half of a vector, widened exactly.
template <int kFirst>
STROBE_INLINE F64 widen(F32 x) {
#if defined(__AVX512F__)
  return bit_cast_to<F64>(
      _mm512_cvtps_pd(_mm512_extractf32x8_ps(bit_cast_to<__m512>(x), kFirst / kHalf)));
#elif defined(__AVX2__)
  return bit_cast_to<F64>(
      _mm256_cvtps_pd(_mm256_extractf128_ps(bit_cast_to<__m256>(x), kFirst / kHalf)));
#else
  F64 wide;
  for (int i = 0; i < kHalf; ++i) wide[i] = x[kFirst + i];
  return wide;
#endif
}

struct Sum {
  F64 low{}, high{};
};
STROBE_INLINE void add_squares(Sum& sum, F32 x) {
  const F64 low = widen<0>(x), high = widen<kHalf>(x);
  sum.low += low * low;
  sum.high += high * high;
}

double sum_of_squares(const float* x, int64_t count) {
  constexpr int kChains = 4;  // independent sums hide the latency of addition
  Sum sums[kChains];
  int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    for (int k = 0; k < kChains; ++k) add_squares(sums[k], load(x + i + k * kLanes));
  }
  for_vectors(count - i,
              [&](int64_t j, auto lanes) { add_squares(sums[0], lanes.load(x + i + j)); });
  double total = 0;
  for (const Sum& sum : sums) {
    for (int lane = 0; lane < kHalf; ++lane) total += sum.low[lane] + sum.high[lane];
  }
  return total;
}

}  // namespace

constinit const GradNormKernels grad_norm_kernels = {&sum_of_squares};

}  // namespace strobe::STROBE_ISA
