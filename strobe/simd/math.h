// Functions of vectors, accurate to a few units in the last place over their whole range. The
// bounds are tested in simd_test.cpp for every instruction set.
#pragma once

#include "strobe/simd/vec.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace strobe::STROBE_ISA {

// e^x, relative error below 2 units in the last place; 0 where the result would be subnormal,
// infinite above the range, NaN for NaN.
STROBE_INLINE F32 exp(F32 x) {
  // e^x = 2^n · e^r with n = round(x/ln 2), r = x − n·ln 2 in two steps, |r| ≤ ½ ln 2.
  // Taking x as the second operand of max and min lets NaN through.
  const F32 in_range = min(broadcast(89.0f), max(broadcast(-88.0f), x));
  const F32 magic = broadcast(0x1.8p23f);  // adding it rounds to an integer
  const F32 n = fma(in_range, broadcast(0x1.715476p+0f), magic) - magic;
  F32 r = fma(n, broadcast(-0x1.62e400p-1f), in_range);  // 15 bits: n·(this) is exact
  r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
  // (e^r − 1 − r)/r² by a minimax polynomial.
  F32 p = broadcast(0x1.6a23cep-10f);
  p = fma(p, r, broadcast(0x1.123a20p-7f));
  p = fma(p, r, broadcast(0x1.5558f2p-5f));
  p = fma(p, r, broadcast(0x1.555492p-3f));
  p = fma(p, r, broadcast(0x1.fffffcp-2f));
  p = fma(p * r, r, r) + broadcast(1.0f);
#if defined(__AVX512F__)
  const F32 y = bit_cast_to<F32>(_mm512_scalef_ps(bit_cast_to<__m512>(p), bit_cast_to<__m512>(n)));
#else
  // 2^n in two factors: n reaches 128, which no single factor can hold.
  const I32 half = __builtin_convertvector(n, I32) >> 1;
  const I32 rest = __builtin_convertvector(n, I32) - half;
  const F32 y = p * bit_cast_to<F32>((half + 127) << 23) * bit_cast_to<F32>((rest + 127) << 23);
#endif
  return select(x < broadcast(-87.33654f), zero(), y);
}

// The square root, correctly rounded.
STROBE_INLINE F32 sqrt(F32 x) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_sqrt_ps(bit_cast_to<__m512>(x)));
#elif defined(__AVX2__)
  return bit_cast_to<F32>(_mm256_sqrt_ps(bit_cast_to<__m256>(x)));
#elif defined(__SSE2__)
  return bit_cast_to<F32>(_mm_sqrt_ps(bit_cast_to<__m128>(x)));
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// GELU in its tanh form and its derivative. With u = √(2/π)(x + 0.044715x³) and the logistic
// function s(t) = 1/(1 + e^(−t)):  ½(1 + tanh u) = s(2u), which keeps its relative accuracy where
// 1 + tanh u cancels. Beyond ±16, s is 1 or 0 in f32; the clamp keeps x³ finite.
struct GeluTerms {
  F32 clamped;   // x in [−16, 16]
  F32 sigmoid;   // s(2u)
};
STROBE_INLINE GeluTerms gelu_terms(F32 x) {
  const F32 c = min(broadcast(16.0f), max(broadcast(-16.0f), x));
  const F32 minus_two_u =
      c * fma(c * c, broadcast(-2 * 0.044715f * 0.7978845608f), broadcast(-2 * 0.7978845608f));
  return {c, broadcast(1.0f) / (broadcast(1.0f) + exp(minus_two_u))};
}
STROBE_INLINE F32 gelu(F32 x) { return x * gelu_terms(x).sigmoid; }
STROBE_INLINE F32 gelu_derivative(F32 x) {
  const GeluTerms t = gelu_terms(x);
  const F32 two_du = fma(t.clamped * t.clamped, broadcast(6 * 0.044715f * 0.7978845608f),
                         broadcast(2 * 0.7978845608f));
  return fma(t.clamped * t.sigmoid * (broadcast(1.0f) - t.sigmoid), two_du, t.sigmoid);
}

}  // namespace strobe::STROBE_ISA
