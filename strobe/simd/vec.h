// Vectors of f32 for CPU kernels: one register of the instruction set that the file is compiled
// for. A kernel file is compiled once per instruction set (strobe_add_isa_sources in
// cmake/isa.cmake) with STROBE_ISA naming the namespace, and exports its functions through a table.
//
// Such a file must define everything inside namespace strobe::STROBE_ISA and include no header with
// inline functions of other namespaces that it calls: the linker keeps one copy of an inline
// function for the whole program, and it might be the one compiled for AVX-512.
#pragma once

#include <cstdint>
#include <cstring>

#include "strobe/core/dtype.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef STROBE_ISA
#error "compile this file through strobe_add_isa_sources()"
#endif

#define STROBE_INLINE inline __attribute__((always_inline))

namespace strobe::STROBE_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// The compiler's vector types: +, −, ·, /, comparisons (all-ones masks in I32), &, |, ^, <<, >>.
typedef float F32 __attribute__((vector_size(kLanes * 4)));
typedef int32_t I32 __attribute__((vector_size(kLanes * 4)));
typedef uint32_t U32 __attribute__((vector_size(kLanes * 4)));

template <class To, class From>
STROBE_INLINE To bit_cast_to(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof(y));
  return y;
}

STROBE_INLINE F32 broadcast(float x) { return x - F32{}; }
STROBE_INLINE U32 broadcast_u32(uint32_t x) { return x - U32{}; }
STROBE_INLINE F32 zero() { return F32{}; }

// 0, 1, 2, …
STROBE_INLINE I32 lane_index() {
  I32 index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return index;
}

STROBE_INLINE F32 load(const float* p) {
  F32 x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}
STROBE_INLINE void store(float* p, F32 x) { std::memcpy(p, &x, sizeof(x)); }

// The first n lanes (0 ≤ n ≤ kLanes); the others are 0, and memory behind is not touched.
STROBE_INLINE F32 load_partial(const float* p, int n) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p));
#else
  F32 x{};
  for (int i = 0; i < n; ++i) x[i] = p[i];
  return x;
#endif
}
STROBE_INLINE void store_partial(float* p, F32 x, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), bit_cast_to<__m512>(x));
#else
  for (int i = 0; i < n; ++i) p[i] = x[i];
#endif
}

// bf16 in memory, f32 in registers: widening is exact, narrowing rounds to nearest even (and, with
// AVX512-BF16, subnormal numbers to 0).
STROBE_INLINE F32 load(const bf16* p) {
  typedef uint16_t Half __attribute__((vector_size(kLanes * 2)));
  Half bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bit_cast_to<F32>(__builtin_convertvector(bits, U32) << 16);
}
STROBE_INLINE void store(bf16* p, F32 x) {
#if defined(__AVX512BF16__)
  const auto bits = _mm512_cvtneps_pbh(bit_cast_to<__m512>(x));
  std::memcpy(p, &bits, sizeof(bits));
#else
  typedef uint16_t Half __attribute__((vector_size(kLanes * 2)));
  const U32 bits = bit_cast_to<U32>(x);
  const U32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32 quiet = (bits >> 16) | 0x40u;
  const U32 is_nan = bit_cast_to<U32>(x != x);
  const Half half = __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), Half);
  std::memcpy(p, &half, sizeof(half));
#endif
}
STROBE_INLINE F32 load_partial(const bf16* p, int n) {
  bf16 lanes[kLanes] = {};
  std::memcpy(lanes, p, n * sizeof(bf16));
  return load(lanes);
}
STROBE_INLINE void store_partial(bf16* p, F32 x, int n) {
  bf16 lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, n * sizeof(bf16));
}

// a·b + c, with one rounding where the instruction set has it.
STROBE_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_fmadd_ps(bit_cast_to<__m512>(a), bit_cast_to<__m512>(b),
                                          bit_cast_to<__m512>(c)));
#elif defined(__AVX2__)
  return bit_cast_to<F32>(_mm256_fmadd_ps(bit_cast_to<__m256>(a), bit_cast_to<__m256>(b),
                                          bit_cast_to<__m256>(c)));
#else
  return a * b + c;
#endif
}

// mask ? a : b, lane by lane; masks come from comparisons.
STROBE_INLINE F32 select(I32 mask, F32 a, F32 b) {
#if defined(__AVX512F__)
  const __mmask16 bits = _mm512_movepi32_mask(bit_cast_to<__m512i>(mask));
  return bit_cast_to<F32>(
      _mm512_mask_blend_ps(bits, bit_cast_to<__m512>(b), bit_cast_to<__m512>(a)));
#else
  const I32 x = bit_cast_to<I32>(a), y = bit_cast_to<I32>(b);
  return bit_cast_to<F32>((x & mask) | (y & ~mask));
#endif
}

// x in the lanes whose bit of `bits` is set, 0 elsewhere.
STROBE_INLINE F32 keep_lanes(uint32_t bits, F32 x) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(
      _mm512_maskz_mov_ps(static_cast<__mmask16>(bits), bit_cast_to<__m512>(x)));
#else
  const I32 bit = (I32{} + 1) << lane_index();
  const I32 keep = ((static_cast<int32_t>(bits) - I32{}) & bit) == bit;
  return bit_cast_to<F32>(bit_cast_to<I32>(x) & keep);
#endif
}

// Whether some lane of a is above the same lane of b.
STROBE_INLINE bool any_above(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(bit_cast_to<__m512>(a), bit_cast_to<__m512>(b), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(bit_cast_to<__m256>(a > b)) != 0;
#else
  const I32 above = a > b;
  int32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= above[i];
  return any != 0;
#endif
}

// Of two numbers; b when one is NaN.
STROBE_INLINE F32 max(F32 a, F32 b) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_max_ps(bit_cast_to<__m512>(a), bit_cast_to<__m512>(b)));
#else
  return select(a > b, a, b);
#endif
}
STROBE_INLINE F32 min(F32 a, F32 b) {
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_min_ps(bit_cast_to<__m512>(a), bit_cast_to<__m512>(b)));
#else
  return select(a < b, a, b);
#endif
}

// Reductions over the lanes, in a fixed order (halves are folded).
STROBE_INLINE float sum_lanes(F32 x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int n = kLanes / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return lanes[0];
}
STROBE_INLINE float max_lanes(F32 x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int n = kLanes / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) lanes[i] = lanes[i] > lanes[i + n] ? lanes[i] : lanes[i + n];
  }
  return lanes[0];
}

// 2^x for x ≤ 127, relative error below 2 units in the last place down to x = −126; below, where
// results would be subnormal, something between 0 and 2^−126, and 2^(−∞) = 0. NaN gives NaN (max()
// takes its second operand then).
STROBE_INLINE F32 exp2(F32 x) {
  // 2^x = 2^n · 2^f with n = round(x), |f| ≤ ½; 2^f by a minimax polynomial of degree 6.
#if defined(__AVX512F__)
  const F32 f = bit_cast_to<F32>(_mm512_reduce_ps(bit_cast_to<__m512>(x), 8));  // 0 for ±∞
  const F32 n = x - f;
#else
  const F32 clamped = max(broadcast(-127.0f), x);
  const F32 magic = broadcast(0x1.8p23f);  // adding it rounds to an integer
  const F32 n = (clamped + magic) - magic;
  const F32 f = clamped - n;
#endif
  F32 p = broadcast(0x1.4309131bp-13f);
  p = fma(p, f, broadcast(0x1.5f4546f2p-10f));
  p = fma(p, f, broadcast(0x1.3b2a1f76p-7f));
  p = fma(p, f, broadcast(0x1.c6af6ccap-5f));
  p = fma(p, f, broadcast(0x1.ebfbe05ap-3f));
  p = fma(p, f, broadcast(0x1.62e42feep-1f));
  p = fma(p, f, broadcast(1.0f));
#if defined(__AVX512F__)
  return bit_cast_to<F32>(_mm512_scalef_ps(bit_cast_to<__m512>(p), bit_cast_to<__m512>(n)));
#else
  const I32 exponent = (__builtin_convertvector(n, I32) + 127) << 23;
  return p * bit_cast_to<F32>(exponent);
#endif
}

}  // namespace strobe::STROBE_ISA
