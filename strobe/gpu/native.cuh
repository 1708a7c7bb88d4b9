#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "strobe/core/dtype.h"

// Element types as the GPU's instructions know them, and 16 bytes at a time of them.
namespace strobe {

template <class T>
struct Native;
template <>
struct Native<float> {
  using type = float;
};
template <>
struct Native<f16> {
  using type = __half;
};
template <>
struct Native<bf16> {
  using type = __nv_bfloat16;
};
// native_t<bf16> is __nv_bfloat16: the same bits.
template <class T>
using native_t = typename Native<T>::type;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(f16 x) {
  return __half2float(__half(__half_raw{x.bits}));
}
__device__ __forceinline__ float to_float(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

// Rounded to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float x) {
  return {__half_as_ushort(__float2half_rn(x))};
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// Two values in one register, `low` in the lower half, rounded to nearest even.
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high);

template <>
__device__ __forceinline__ uint32_t pack<f16>(float low, float high) {
  const __half2 both = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(both);
}

template <>
__device__ __forceinline__ uint32_t pack<bf16>(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(both);
}

// kCount neighbours in memory, loaded and stored with one instruction where they are 4, 8 or 16
// bytes; the address must be a multiple of that.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T element[kCount];
};
// As many as 16 bytes hold.
template <class T>
constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));
template <class T>
using WideVector = Vector<T, kVectorWidth<T>>;

template <class T, int kCount>
__device__ __forceinline__ Vector<T, kCount> load_vector(const T* from) {
  return *reinterpret_cast<const Vector<T, kCount>*>(from);
}
template <class T, int kCount>
__device__ __forceinline__ void store_vector(T* to, const Vector<T, kCount>& vector) {
  *reinterpret_cast<Vector<T, kCount>*>(to) = vector;
}

// 16 bytes that nobody writes while the kernel runs, and that no one else of the multiprocessor
// reads.
__device__ __forceinline__ uint4 load_16_once(const void* from) {
  uint4 words;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(from));
  return words;
}

// Whether rows of `row` elements, one after the other from `data` on, can be read in vectors of 16
// bytes.
template <class T>
inline bool is_aligned_for_vectors(const T* data, int64_t row) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && row % kVectorWidth<T> == 0;
}

}  // namespace strobe
