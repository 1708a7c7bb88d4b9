#include "strobe/core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "strobe/core/random.h"

namespace strobe {
namespace {

// What distinguishes the two 16-bit formats. A normal number has `digits` significant bits.
struct Format {
  int digits;
  int min_exponent;  // of the smallest normal number, 2^min_exponent
  double largest;
};
constexpr Format kF16 = {11, -14, 65504};
constexpr Format kBf16 = {8, -126, 0x1.fep127};

// `x` rounded to nearest, ties to even, by exact double arithmetic.
double rounded(double x, const Format& format) {
  if (!std::isfinite(x) || x == 0) return x;
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const double ulp = std::ldexp(1.0, exponent - format.digits + 1);
  const double result = std::nearbyint(x / ulp) * ulp;
  if (std::abs(result) > format.largest) return std::copysign(HUGE_VAL, x);
  return std::copysign(result, x);
}

template <class T>
constexpr Format format_of() {
  return dtype_of<T>() == DType::f16 ? kF16 : kBf16;
}

template <class T>
void expect_rounds_like_double(float x) {
  const double actual = to_f32(from_f32<T>(x));
  const double expected = rounded(x, format_of<T>());
  ASSERT_EQ(actual, expected) << std::hexfloat << x;
  ASSERT_EQ(std::signbit(actual), std::signbit(x)) << std::hexfloat << x;
}

template <class T>
class HalfTypes : public ::testing::Test {};
using BothHalves = ::testing::Types<f16, bf16>;
TYPED_TEST_SUITE(HalfTypes, BothHalves);

TYPED_TEST(HalfTypes, EveryValueSurvivesTheWayThroughF32) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const TypeParam x{static_cast<uint16_t>(bits)};
    const float wide = to_f32(x);
    const TypeParam back = from_f32<TypeParam>(wide);
    if (std::isnan(wide)) {
      ASSERT_TRUE(std::isnan(to_f32(back))) << bits;
      ASSERT_EQ(back.bits >> 15, x.bits >> 15) << bits;
    } else {
      ASSERT_EQ(back.bits, x.bits);
    }
  }
}

TYPED_TEST(HalfTypes, ValuesRiseWithTheirBits) {
  int infinities = 0;
  for (uint32_t bits = 1; bits < 0x8000; ++bits) {
    const float value = to_f32(TypeParam{static_cast<uint16_t>(bits)});
    const float before = to_f32(TypeParam{static_cast<uint16_t>(bits - 1)});
    if (std::isinf(value)) ++infinities;
    if (std::isnan(value)) continue;
    ASSERT_LT(before, value) << bits;
    ASSERT_EQ(to_f32(TypeParam{static_cast<uint16_t>(bits | 0x8000u)}), -value) << bits;
  }
  EXPECT_EQ(infinities, 1);
}

TYPED_TEST(HalfTypes, RoundsAnyF32LikeDoubleArithmetic) {
  Random random(PhiloxKey{{1, 2}});
  for (int i = 0; i < 200'000; ++i) {
    const auto x = std::bit_cast<float>(random.next_u32());
    if (std::isnan(x)) continue;
    expect_rounds_like_double<TypeParam>(x);
  }
}

TYPED_TEST(HalfTypes, RoundsNeighboursOfEveryTieLikeDoubleArithmetic) {
  for (uint32_t bits = 0; bits + 1 < 0x8000; ++bits) {
    const float low = to_f32(TypeParam{static_cast<uint16_t>(bits)});
    const float high = to_f32(TypeParam{static_cast<uint16_t>(bits + 1)});
    if (!std::isfinite(high)) break;
    const auto tie = static_cast<float>((static_cast<double>(low) + high) / 2);
    for (const float x : {std::nextafter(tie, low), tie, std::nextafter(tie, high)}) {
      expect_rounds_like_double<TypeParam>(x);
      expect_rounds_like_double<TypeParam>(-x);
    }
  }
}

TYPED_TEST(HalfTypes, OverflowGivesInfinityAndNaNStaysNaN) {
  const double ulp = std::ldexp(
      1.0, std::ilogb(format_of<TypeParam>().largest) - format_of<TypeParam>().digits + 1);
  const auto tie = static_cast<float>(format_of<TypeParam>().largest + ulp / 2);
  expect_rounds_like_double<TypeParam>(std::nextafter(tie, 0.0f));
  EXPECT_EQ(to_f32(from_f32<TypeParam>(std::nextafter(tie, 0.0f))),
            static_cast<float>(format_of<TypeParam>().largest));
  EXPECT_EQ(to_f32(from_f32<TypeParam>(tie)), HUGE_VALF);
  EXPECT_EQ(to_f32(from_f32<TypeParam>(-tie)), -HUGE_VALF);
  EXPECT_EQ(to_f32(from_f32<TypeParam>(HUGE_VALF)), HUGE_VALF);
  // A NaN whose payload lies only in the bits that are cut off, and signalling ones.
  for (const uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fc00000u, 0xffffffffu, 0x7f801000u}) {
    EXPECT_TRUE(std::isnan(to_f32(from_f32<TypeParam>(std::bit_cast<float>(bits))))) << bits;
  }
}

TEST(DType, SizesNamesAndEpsilons) {
  EXPECT_EQ(size_of(DType::f32), 4u);
  EXPECT_EQ(size_of(DType::f16), 2u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::i32), 4u);
  EXPECT_EQ(to_text(DType::bf16), "bf16");
  EXPECT_EQ(epsilon_of(DType::f32), std::numeric_limits<float>::epsilon());
  EXPECT_EQ(to_f32(f16{static_cast<uint16_t>(to_f16(1).bits + 1)}) - 1, epsilon_of(DType::f16));
  EXPECT_EQ(to_f32(bf16{static_cast<uint16_t>(to_bf16(1).bits + 1)}) - 1, epsilon_of(DType::bf16));
}

TEST(DType, WithFloatTypePassesTheTypeOfTheDType) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    with_float_type(dtype, [&](auto type) { EXPECT_EQ(dtype_of<decltype(type)>(), dtype); });
  }
}

// The conversions are usable in constant expressions.
static_assert(to_bf16(1.0f).bits == 0x3f80);
static_assert(to_f16(-2.0f).bits == 0xc000);
static_assert(to_f32(f16{1}) == 0x1p-24f);

}  // namespace
}  // namespace strobe
