// f16 in memory, f32 in registers: widening is exact, narrowing rounds to nearest even.
#pragma once

#include "strobe/simd/vec.h"

namespace strobe::STROBE_ISA {

STROBE_INLINE F32 load(const f16* p) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
  return bit_cast_to<F32>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  F32 x;
  for (int i = 0; i < kLanes; ++i) x[i] = to_f32(p[i]);  // compiled for the baseline: safe to share
  return x;
#endif
}

STROBE_INLINE void store(f16* p, F32 x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(bit_cast_to<__m512>(x), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(bit_cast_to<__m256>(x), _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes; ++i) p[i] = to_f16(x[i]);
#endif
}

STROBE_INLINE F32 load_partial(const f16* p, int n) {
  f16 lanes[kLanes] = {};
  std::memcpy(lanes, p, n * sizeof(f16));
  return load(lanes);
}
STROBE_INLINE void store_partial(f16* p, F32 x, int n) {
  f16 lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, n * sizeof(f16));
}

}  // namespace strobe::STROBE_ISA
