#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "strobe/core/host_device.h"

namespace strobe {

// Element types of tensors. The names are the tokens that options, file names and CMake use.
enum class DType : uint8_t { f32, f16, bf16, i32 };

// IEEE binary16, stored as its bits. Arithmetic happens in f32.
struct f16 {
  uint16_t bits;
};

// The upper half of an IEEE binary32, stored as its bits. Arithmetic happens in f32.
struct bf16 {
  uint16_t bits;
};

constexpr size_t size_of(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 ? 2 : 4;
}

constexpr std::string_view to_text(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
  }
  return "unknown";
}



template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<f16>() {
  return DType::f16;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}

STROBE_HD constexpr float to_f32(float x) { return x; }

STROBE_HD constexpr float to_f32(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

// Rounds to nearest, ties to even; NaN stays a (quiet) NaN.
STROBE_HD constexpr bf16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

STROBE_HD constexpr float to_f32(f16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero and subnormals: mantissa · 2⁻²⁴
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Rounds to nearest, ties to even; overflow gives infinity, NaN stays a (quiet) NaN.
STROBE_HD constexpr f16 to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // ≥ 65520
  if (magnitude < 0x38800000u) {  // below 2⁻¹⁴: adding 0.5 rounds the mantissa at 2⁻²⁴
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

// Rounds `x` to the type T: the one place where a test or a converter names the rounding.
template <class T>
constexpr T from_f32(float x);
template <>
constexpr float from_f32<float>(float x) {
  return x;
}
template <>
constexpr bf16 from_f32<bf16>(float x) {
  return to_bf16(x);
}
template <>
constexpr f16 from_f32<f16>(float x) {
  return to_f16(x);
}

// Distance from 1 to the next larger value of the type: 2 × its unit roundoff.
constexpr double epsilon_of(DType dtype) {
  switch (dtype) {
    case DType::f16: return 0x1p-10;
    case DType::bf16: return 0x1p-7;
    default: return 0x1p-23;
  }
}

// Calls f(T{}) with the C++ type of a floating dtype.
template <class F>
decltype(auto) with_float_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f16: return f(f16{});
    case DType::bf16: return f(bf16{});
    default: return f(float{});
  }
}

}  // namespace strobe
