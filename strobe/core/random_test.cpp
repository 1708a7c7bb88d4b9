#include "strobe/core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/element_dropout.h"

namespace strobe {
namespace {

// Known answers published with Random123 (kat_vectors): the words for all-zero and all-one counter
// and key, and for the digits of pi.
struct KnownAnswer {
  PhiloxWords counter;
  PhiloxKey key;
  PhiloxWords after_7, after_10;
};
constexpr uint32_t kOnes = 0xffffffffu;
constexpr KnownAnswer kKnownAnswers[] = {
    {{{0, 0, 0, 0}},
     {{0, 0}},
     {{0x5f6fb709u, 0x0d893f64u, 0x4f121f81u, 0x4f730a48u}},
     {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}},
    {{{kOnes, kOnes, kOnes, kOnes}},
     {{kOnes, kOnes}},
     {{0x5207ddc2u, 0x45165e59u, 0x4d8ee751u, 0x8c52f662u}},
     {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}},
    {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
     {{0xa4093822u, 0x299f31d0u}},
     {{0x4dfccabau, 0x190a87f0u, 0xc47362bau, 0xb6b5242au}},
     {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}},
};

std::vector<uint32_t> words(const PhiloxWords& x) { return {x.word, x.word + 4}; }

TEST(Philox, GivesThePublishedKnownAnswers) {
  for (const KnownAnswer& known : kKnownAnswers) {
    EXPECT_EQ(words(philox<7>(known.counter, known.key)), words(known.after_7));
    EXPECT_EQ(words(philox<10>(known.counter, known.key)), words(known.after_10));
  }
}

static_assert(philox<7>({{0, 0, 0, 0}}, {{0, 0}}).word[0] == 0x5f6fb709u);

TEST(Philox, KeysDifferBySeedStepAndSite) {
  std::set<std::pair<uint32_t, uint32_t>> keys;
  const uint64_t large = uint64_t{1} << 32;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, large}) {
    for (const uint64_t step : {uint64_t{0}, uint64_t{1}, uint64_t{2}, large}) {
      for (uint32_t site = 0; site < 50; ++site) {
        const PhiloxKey key = random_key(seed, step, site);
        keys.emplace(key.word[0], key.word[1]);
      }
    }
  }
  EXPECT_EQ(keys.size(), 3u * 4 * 50);
}

TEST(Dropout, RoundsTheProbabilityToSteps) {
  EXPECT_EQ(Dropout::with(0.1, {}).threshold, 26u);
  EXPECT_EQ(Dropout::with(0.5, {}).threshold, 128u);
  EXPECT_EQ(Dropout::with(0.5, {}).keep_scale(), 2.0f);
  EXPECT_EQ(Dropout::with(1 / 256.0, {}).threshold, 1u);
  EXPECT_EQ(Dropout::with(255 / 256.0, {}).keep_scale(), 256.0f);
  EXPECT_DOUBLE_EQ(Dropout::with(0.1, {}).probability(), 26 / 256.0);
  EXPECT_FLOAT_EQ(Dropout::with(0.1, {}).keep_scale(), 1 / (1 - 26 / 256.0f));
}

TEST(Dropout, ZeroMeansNone) {
  const Dropout dropout = Dropout::with(0, {{1, 2}});
  EXPECT_FALSE(dropout.active());
  EXPECT_EQ(dropout.keep_scale(), 1.0f);
  EXPECT_FALSE(Dropout::none().active());
  EXPECT_TRUE(Dropout::with(0.01, {}).active());
}

TEST(Dropout, RefusesWhatItCannotApply) {
  const auto message_for = [](double p) -> std::string {
    try {
      Dropout::with(p, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message_for(-0.1), "dropout is -0.1, allowed is [0, 1)");
  EXPECT_EQ(message_for(1), "dropout is 1, allowed is [0, 1)");
  EXPECT_EQ(message_for(std::nan("")), "dropout is nan, allowed is [0, 1)");
  EXPECT_TRUE(message_for(0.001).starts_with("dropout 0.001 rounds to 0;")) << message_for(0.001);
  EXPECT_TRUE(message_for(0.999).starts_with("dropout 0.999 rounds to 1;")) << message_for(0.999);
}

// The byte of an element, as the definition in words says where it is.
uint32_t byte_of_element(PhiloxKey key, int64_t element) {
  const auto counter = static_cast<uint64_t>(element / 16);
  const std::vector<uint32_t> four = words(
      philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, key));
  return four[element % 16 / 4] >> (8 * (element % 4)) & 0xff;
}

TEST(Dropout, OfAnElementIsDecidedByItsByte) {
  const Dropout dropout = Dropout::with(0.3, random_key(1, 2, 3));
  for (const int64_t first : {int64_t{0}, (int64_t{1} << 36) - 40}) {
    for (int64_t e = first; e < first + 100; ++e) {
      EXPECT_EQ(dropout_keeps_element(dropout.threshold, dropout.key, e),
                byte_of_element(dropout.key, e) >= dropout.threshold)
          << "at " << e;
    }
  }
}

TEST(Dropout, KeepsAsManyElementsAsTheProbabilitySays) {
  const Dropout dropout = Dropout::with(0.1, random_key(1, 2, 3));
  const int64_t n = 200000;
  int64_t kept = 0;
  for (int64_t e = 0; e < n; ++e) {
    kept += dropout_keeps_element(dropout.threshold, dropout.key, e) ? 1 : 0;
  }
  const double keep = 1 - dropout.probability();
  EXPECT_NEAR(static_cast<double>(kept), n * keep, 4 * std::sqrt(n * keep * (1 - keep)));
}

TEST(Random, OneKeyGivesOneSequence) {
  Random a(PhiloxKey{{3, 4}}), b(PhiloxKey{{3, 4}}), c(PhiloxKey{{3, 5}});
  int equal = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint32_t x = a.next_u32();
    EXPECT_EQ(x, b.next_u32());
    equal += x == c.next_u32();
  }
  EXPECT_EQ(equal, 0);
}

struct Moments {
  double mean = 0, variance = 0, skew = 0, kurtosis = 0;
};

template <class Draw>
Moments moments_of(int count, Draw draw) {
  std::vector<double> values(count);
  Moments m;
  for (double& x : values) m.mean += (x = draw()) / count;
  for (const double x : values) {
    const double d = x - m.mean;
    m.variance += d * d / count;
    m.skew += d * d * d / count;
    m.kurtosis += d * d * d * d / count;
  }
  m.skew /= std::pow(m.variance, 1.5);
  m.kurtosis /= m.variance * m.variance;
  return m;
}

// The bounds are 5 standard errors; the seed is fixed, so this cannot fail by chance.
TEST(Random, UniformHasItsMoments) {
  constexpr int kCount = 400'000;
  Random random(PhiloxKey{{1, 1}});
  const Moments m = moments_of(kCount, [&] {
    const double x = random.uniform();
    EXPECT_TRUE(x >= 0 && x < 1) << x;
    return x;
  });
  EXPECT_NEAR(m.mean, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(m.variance, 1.0 / 12, 5 * std::sqrt(1.0 / 180 / kCount));
  EXPECT_NEAR(m.kurtosis, 1.8, 0.02);
}

TEST(Random, NormalHasItsMoments) {
  constexpr int kCount = 400'000;
  Random random(PhiloxKey{{1, 2}});
  const Moments m = moments_of(kCount, [&] {
    const double x = random.normal();
    EXPECT_TRUE(std::isfinite(x));
    return x;
  });
  EXPECT_NEAR(m.mean, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(m.variance, 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(m.skew, 0, 5 * std::sqrt(6.0 / kCount));
  EXPECT_NEAR(m.kurtosis, 3, 5 * std::sqrt(24.0 / kCount));
}

TEST(Random, BelowIsUniform) {
  Random random(PhiloxKey{{7, 7}});
  EXPECT_EQ(random.below(1), 0u);
  std::array<int, 7> counts{};
  constexpr int kCount = 70'000;
  for (int i = 0; i < kCount; ++i) ++counts.at(random.below(counts.size()));
  for (const int count : counts) EXPECT_NEAR(count, kCount / 7, 5 * std::sqrt(kCount / 7.0));
  const uint64_t large = uint64_t{1} << 63;
  uint64_t largest = 0;
  for (int i = 0; i < 100; ++i) largest = std::max(largest, random.below(large));
  EXPECT_LT(largest, large);
  EXPECT_GT(largest, large / 4 * 3);
}

}  // namespace
}  // namespace strobe
