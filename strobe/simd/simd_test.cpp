// The kernel kit against double precision and the scalar definitions, on every instruction set that
// this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "strobe/core/device.h"
#include "strobe/core/random.h"
#include "strobe/simd/simd_test_kernels.h"
#include "tests/testkit/options.h"

namespace strobe::testing {
namespace {

struct IsaFunctions {
  Isa isa;
  const SimdFunctions& simd;
};

void for_each_isa(const std::function<void(const SimdFunctions& simd)>& body) {
  static const IsaFunctions kAll[] = {{Isa::scalar, scalar::simd_functions},
                                      {Isa::avx2, avx2::simd_functions},
                                      {Isa::avx512, avx512::simd_functions},
                                      {Isa::avx512_bf16, avx512_bf16::simd_functions}};
  for (const IsaFunctions& row : kAll) {
    const std::string reason = why_not_isa(row.isa, Device{});
    if (!reason.empty()) {
      fmt::print("{}: {}\n", to_text(row.isa), reason);
      continue;
    }
    SCOPED_TRACE(to_text(row.isa));
    body(row.simd);
  }
}

// Every 1009th float between two of the same sign, and both: dense where floats are.
std::vector<float> floats_between(float begin, float end) {
  std::vector<float> values;
  const auto bits_of = [](float x) { return std::bit_cast<uint32_t>(x); };
  const uint32_t first = std::min(bits_of(begin), bits_of(end));
  const uint32_t last = std::max(bits_of(begin), bits_of(end));
  for (uint64_t bits = first; bits < last; bits += 1009) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  values.push_back(std::bit_cast<float>(last));
  while (values.size() % 16 != 0) values.push_back(values.back());
  return values;
}

double ulp_of(double x) {
  return std::ldexp(1.0,
                    std::max(std::ilogb(x), std::numeric_limits<float>::min_exponent - 1) - 23);
}

using Map = void (*)(const float* x, float* y, int64_t n);

// The largest error, in units in the last place of the exact result.
double largest_error(Map function, double (*exact)(double), const std::vector<float>& x) {
  std::vector<float> y(x.size());
  function(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = exact(x[i]), error = std::abs(y[i] - expected) / ulp_of(expected);
    if (!(error <= largest)) largest = std::isnan(error) ? HUGE_VAL : error;
  }
  return largest;
}

float value_at(Map function, float x) {
  float in[16], out[16];
  std::fill_n(in, 16, x);
  function(in, out, 16);
  return out[0];
}

double exact_exp2(double x) { return std::exp2(x); }
double exact_exp(double x) { return std::exp(x); }
double exact_sqrt(double x) { return std::sqrt(x); }

TEST(Simd, Exp2IsAccurate) {
  for_each_isa([](const SimdFunctions& simd) {
    EXPECT_LT(largest_error(simd.exp2, exact_exp2, floats_between(-0.0f, -126.0f)), 2);
    EXPECT_LT(largest_error(simd.exp2, exact_exp2, floats_between(0.0f, 127.0f)), 2);
    EXPECT_EQ(value_at(simd.exp2, 0.0f), 1.0f);
    EXPECT_EQ(value_at(simd.exp2, -HUGE_VALF), 0.0f);
    EXPECT_EQ(value_at(simd.exp2, std::numeric_limits<float>::lowest()), 0.0f);
    EXPECT_TRUE(std::isnan(value_at(simd.exp2, NAN)));
    for (float x : floats_between(-126.0f, -1000.0f)) {
      const float y = value_at(simd.exp2, x);
      ASSERT_TRUE(y >= 0 && y <= std::numeric_limits<float>::min()) << x;
    }
  });
}

TEST(Simd, ExpIsAccurate) {
  for_each_isa([](const SimdFunctions& simd) {
    EXPECT_LT(largest_error(simd.exp, exact_exp, floats_between(-0.0f, -87.33f)), 2);
    EXPECT_LT(largest_error(simd.exp, exact_exp, floats_between(0.0f, 88.72f)), 2);
    EXPECT_EQ(value_at(simd.exp, -HUGE_VALF), 0.0f);
    EXPECT_EQ(value_at(simd.exp, HUGE_VALF), HUGE_VALF);
    EXPECT_TRUE(std::isnan(value_at(simd.exp, NAN)));
  });
}

TEST(Simd, SquareRootIsCorrectlyRounded) {
  for_each_isa([](const SimdFunctions& simd) {
    EXPECT_LE(largest_error(simd.sqrt, exact_sqrt,
                            floats_between(std::numeric_limits<float>::min(), 3e38f)),
              0.5);
  });
}

TEST(Simd, GeluAndItsDerivativeAreAccurate) {
  const auto tanh_term = [](double x) {
    return std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
  };
  for_each_isa([&](const SimdFunctions& simd) {
    for (const auto& xs : {floats_between(1e-6f, 20.0f), floats_between(-1e-6f, -20.0f)}) {
      std::vector<float> y(xs.size()), dy(xs.size());
      simd.gelu(xs.data(), y.data(), static_cast<int64_t>(xs.size()));
      simd.gelu_derivative(xs.data(), dy.data(), static_cast<int64_t>(xs.size()));
      for (size_t i = 0; i < xs.size(); ++i) {
        const double x = xs[i], t = tanh_term(x);
        const double inner = std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
        const double slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner;
        ASSERT_TRUE(std::abs(y[i] - 0.5 * x * (1 + t)) <= 1e-6 * std::max(1e-1, std::abs(x))) << x;
        ASSERT_TRUE(std::abs(dy[i] - slope) <= 2e-6) << x;
      }
    }
  });
}

TEST(Simd, Bf16RoundsAsTheDefinition) {
  Random random(random_key(1, 0, 0));
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4099) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const bool is_subnormal = value != 0 && std::abs(value) < std::numeric_limits<float>::min();
    if (!is_subnormal) x.push_back(value);  // AVX512-BF16 rounds those to zero
  }
  x.resize(x.size() / 16 * 16);
  std::vector<bf16> y(x.size());
  std::vector<float> back(x.size());
  for_each_isa([&](const SimdFunctions& simd) {
    simd.round_to_bf16(x.data(), y.data(), static_cast<int64_t>(x.size()));
    simd.widen_bf16(y.data(), back.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        ASSERT_TRUE(std::isnan(back[i])) << i;
      } else {
        ASSERT_EQ(y[i].bits, to_bf16(x[i]).bits) << x[i];
        ASSERT_EQ(back[i], to_f32(y[i]));
      }
    }
  });
}

TEST(Simd, PartialCopiesTouchNothingElse) {
  for_each_isa([](const SimdFunctions& simd) {
    for (int n = 0; n <= simd.lanes; ++n) {
      const std::unique_ptr<float[]> x(new float[n]);  // the sanitizer sees a read behind it
      const std::unique_ptr<bf16[]> u(new bf16[n]);
      std::vector<float> y(n + 1, 7.0f);
      std::vector<bf16> v(n + 1, bf16{7});
      for (int i = 0; i < n; ++i) {
        x[i] = static_cast<float>(i + 1);
        u[i] = to_bf16(x[i]);
      }
      simd.copy_partial(x.get(), y.data(), n);
      simd.copy_partial_bf16(u.get(), v.data(), n);
      for (int i = 0; i < n; ++i) {
        EXPECT_EQ(y[i], x[i]);
        EXPECT_EQ(v[i].bits, u[i].bits);
      }
      EXPECT_EQ(y[n], 7.0f);
      EXPECT_EQ(v[n].bits, 7);
    }
  });
}

TEST(Simd, LanesAreKeptComparedAndReduced) {
  Random random(random_key(2, 0, 0));
  for_each_isa([&](const SimdFunctions& simd) {
    for (int round = 0; round < 100; ++round) {
      float x[16], y[16], above[16];
      for (float& value : x) value = static_cast<float>(random.below(1000)) - 500;
      const uint32_t bits = random.next_u32();
      simd.keep_lanes(bits, x, y);
      for (int i = 0; i < simd.lanes; ++i) EXPECT_EQ(y[i], (bits >> i & 1) != 0 ? x[i] : 0.0f);

      float sum = 0, maximum = x[0];
      for (int i = 0; i < simd.lanes; ++i) {
        sum += x[i];
        maximum = std::max(maximum, x[i]);
      }
      EXPECT_EQ(simd.sum_lanes(x), sum);  // small integers: exact in any order
      EXPECT_EQ(simd.max_lanes(x), maximum);

      std::copy_n(x, 16, above);
      EXPECT_FALSE(simd.any_above(above, x));
      above[random.below(static_cast<uint64_t>(simd.lanes))] += 1;
      EXPECT_TRUE(simd.any_above(above, x));
    }
  });
}

TEST(Simd, SumsOfManyVectorsAreEachTheSumOfOne) {
  for_each_isa([](const SimdFunctions& simd) {
    Random random(PhiloxKey{{1, 4}});
    float x[16 * 16], sums[16];
    for (float& value : x) value = static_cast<float>(random.normal());
    simd.sum_each(x, sums);
    for (int i = 0; i < simd.lanes; ++i) EXPECT_EQ(sums[i], simd.sum_lanes(x + i * simd.lanes));
  });
}

TEST(Simd, PhiloxIsTheScalarOne) {
  for_each_isa([](const SimdFunctions& simd) {
    uint32_t words[64];
    simd.philox7(0xfffffff8u, 0xdeadbeefu, 42, words);
    for (int i = 0; i < simd.lanes; ++i) {
      const PhiloxWords expected =
          philox<7>({{0xfffffff8u + static_cast<uint32_t>(i), 1, 2, 3}}, {{0xdeadbeefu, 42}});
      for (int w = 0; w < 4; ++w) EXPECT_EQ(words[4 * i + w], expected.word[w]) << i;
    }
  });
}

}  // namespace
}  // namespace strobe::testing
