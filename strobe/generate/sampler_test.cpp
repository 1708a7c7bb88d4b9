#include "strobe/generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "strobe/core/random.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// How often each id is drawn, as a share.
std::map<int32_t, double> shares(const SamplerOptions& options, const std::vector<float>& logits) {
  constexpr int kDraws = 20000;
  Sampler sampler(options);
  std::map<int32_t, double> result;
  for (int i = 0; i < kDraws; ++i) result[sampler.draw(logits, i)] += 1.0 / kDraws;
  return result;
}

// Five standard errors of a share of 20000 draws.
void expect_share(const std::map<int32_t, double>& actual, int32_t id, double expected) {
  const auto found = actual.find(id);
  const double share = found == actual.end() ? 0 : found->second;
  EXPECT_NEAR(share, expected, 5 * std::sqrt(expected * (1 - expected) / 20000)) << "id " << id;
}

std::vector<float> logarithms(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3);
  return logits;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler greedy({});
  EXPECT_EQ(greedy.draw(std::vector<float>{1, 5, -2, 5, 4}, 0), 1);
  EXPECT_EQ(greedy.draw(std::vector<float>{7}, 3), 0);
  EXPECT_EQ(greedy.draw(std::vector<float>{-kInfinity, -9, -kInfinity}, 3), 1);
  EXPECT_EQ(Sampler({.temperature = 2, .top_k = 1}).draw(std::vector<float>{1, 5, 5}, 0), 1);
  // A probability smaller than the first one's alone leaves only that.
  EXPECT_EQ(shares({.temperature = 1, .top_p = 1e-9}, {1, 2, 3}).size(), 1U);
  EXPECT_EQ(shares({.temperature = 1e-300}, {1, 2, 3}).size(), 1U);
}

TEST(Sampler, DrawsByProbability) {
  const std::vector<float> logits = logarithms({0.1, 0.4, 0.2, 0.3});
  const auto plain = shares({.temperature = 1}, logits);
  for (const auto& [id, p] : std::map<int32_t, double>{{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}}) {
    expect_share(plain, id, p);
  }
  // Half the temperature squares the probabilities: 1, 16, 4, 9 of 30.
  const auto cold = shares({.temperature = 0.5}, logits);
  for (const auto& [id, p] : std::map<int32_t, double>{{0, 1}, {1, 16}, {2, 4}, {3, 9}}) {
    expect_share(cold, id, p / 30);
  }
}

TEST(Sampler, TopKThenTopP) {
  const std::vector<float> logits = logarithms({0.1, 0.4, 0.2, 0.3});
  const auto two = shares({.temperature = 1, .top_k = 2}, logits);
  EXPECT_EQ(two.size(), 2U);
  expect_share(two, 1, 4.0 / 7);
  expect_share(two, 3, 3.0 / 7);
  // 0.4 alone is less than 0.65, 0.4 + 0.3 is not.
  const auto most = shares({.temperature = 1, .top_p = 0.65}, logits);
  EXPECT_EQ(most.size(), 2U);
  expect_share(most, 1, 4.0 / 7);
  // Of the two that top_k leaves, the first has 4/7 of the probability: enough for 0.5.
  EXPECT_EQ(shares({.temperature = 1, .top_k = 2, .top_p = 0.5}, logits).size(), 1U);
  EXPECT_EQ(shares({.temperature = 1, .top_p = 0.5}, logits).size(), 2U);
  EXPECT_EQ(shares({.temperature = 1, .top_k = 99, .top_p = 1}, logits).size(), 4U);
  // Equal ones: the smaller ids stay.
  const auto equal = shares({.temperature = 1, .top_k = 2}, {0, 0, 0, 0});
  EXPECT_EQ(equal.count(0) + equal.count(1), 2U);
}

TEST(Sampler, FollowsSeedAndIndexAlone) {
  Random random(random_key(1, 0, 0));
  std::vector<float> logits(1000);
  for (float& logit : logits) logit = static_cast<float>(random.normal());
  const auto draw = [&](uint64_t seed, int64_t index) {
    return Sampler({.temperature = 1, .seed = seed}).draw(logits, index);
  };
  Sampler sampler({.temperature = 1, .seed = 7});
  int changes = 0;
  for (int64_t index = 9; index >= 0; --index) {
    EXPECT_EQ(sampler.draw(logits, index), draw(7, index));
    changes += draw(7, index) != draw(8, index);
  }
  EXPECT_GE(changes, 9);
}

TEST(Sampler, ErrorsNameTheValue) {
  EXPECT_EQ(error_of([] { Sampler({.temperature = -0.5}); }),
            "temperature is -0.5, allowed is 0 or more");
  EXPECT_NE(error_of([] { Sampler({.temperature = std::nan("")}); }), "");
  EXPECT_EQ(error_of([] { Sampler({.top_k = -1}); }), "top_k is -1, allowed is 0 or more");
  for (const double top_p : {0.0, -1.0, 1.5, std::nan("")}) {
    EXPECT_NE(error_of([&] { Sampler({.top_p = top_p}); }).find("more than 0 and up to 1"),
              std::string::npos);
  }
  for (const float bad : {kInfinity, std::nanf("")}) {
    for (const size_t at : {0, 2}) {
      std::vector<float> logits = {1, 2, 3};
      logits[at] = bad;
      EXPECT_EQ(error_of([&] { Sampler({}).draw(logits, 0); }),
                "the model's logits are not finite numbers");
    }
  }
}

}  // namespace
}  // namespace strobe::testing
