// Philox4x32 (strobe/core/random.h) for kLanes counters at once.
#pragma once

#include "strobe/simd/vec.h"


namespace strobe::STROBE_ISA {

struct PhiloxLanes {
  U32 word[4];
};

// The upper and lower halves of the 64-bit products x·m.
struct WideProduct {
  U32 high, low;
};
STROBE_INLINE WideProduct multiply_wide(U32 x, uint32_t m) {
#if defined(__AVX512F__)
  const __m512i a = bit_cast_to<__m512i>(x), b = _mm512_set1_epi32(static_cast<int>(m));
  const __m512i even = _mm512_mul_epu32(a, b);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), b);
  return {bit_cast_to<U32>(_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)),
          bit_cast_to<U32>(_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32)))};
#elif defined(__AVX2__)
  const __m256i a = bit_cast_to<__m256i>(x), b = _mm256_set1_epi32(static_cast<int>(m));
  const __m256i even = _mm256_mul_epu32(a, b);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  return {bit_cast_to<U32>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa)),
          bit_cast_to<U32>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa))};
#else
  WideProduct product;
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t p = static_cast<uint64_t>(x[i]) * m;
    product.high[i] = static_cast<uint32_t>(p >> 32);
    product.low[i] = static_cast<uint32_t>(p);
  }
  return product;
#endif
}

// Lane by lane philox<kRounds>(counter, {key0, key1}). The constants are the paper's.
template <int kRounds>
STROBE_INLINE PhiloxLanes philox(PhiloxLanes counter, uint32_t key0, uint32_t key1) {
  U32 x0 = counter.word[0], x1 = counter.word[1], x2 = counter.word[2], x3 = counter.word[3];
  for (int round = 0; round < kRounds; ++round) {
    const WideProduct product0 = multiply_wide(x0, 0xD2511F53u);
    const WideProduct product1 = multiply_wide(x2, 0xCD9E8D57u);
    x0 = product1.high ^ x1 ^ broadcast_u32(key0);
    x1 = product1.low;
    x2 = product0.high ^ x3 ^ broadcast_u32(key1);
    x3 = product0.low;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{x0, x1, x2, x3}};
}

}  // namespace strobe::STROBE_ISA
