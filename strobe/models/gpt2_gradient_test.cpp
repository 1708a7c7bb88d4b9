// GPT-2's loss and gradients against the double model: the loss itself, and central differences of
// it for elements of every parameter, dropout on.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "strobe/models/gpt2_double.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "tests/testkit/options.h"

namespace strobe::testing {
namespace {

constexpr double kStep = 1e-5;  // truncation ~1e-10, rounding ~1e-11 of a loss of about 5
constexpr int kElements = 6;    // of each parameter

double largest(const std::vector<double>& values) {
  double result = 0;
  for (double value : values) result = std::max(result, std::abs(value));
  return result;
}

double central_difference(const Gpt2Double& model, NamedValues& parameters, double& element) {
  const double value = element;
  element = value + kStep;
  const double above = model.loss(parameters);
  element = value - kStep;
  const double below = model.loss(parameters);
  element = value;
  return (above - below) / (2 * kStep);
}

// Elements drawn at random, and the one with the largest gradient.
std::vector<int64_t> elements_of(const std::vector<double>& gradient, Random& random) {
  const auto size = static_cast<int64_t>(gradient.size());
  const auto is_less = [](double a, double b) { return std::abs(a) < std::abs(b); };
  std::vector<int64_t> elements = {std::max_element(gradient.begin(), gradient.end(), is_less) -
                                   gradient.begin()};
  while (elements.size() < kElements) {
    elements.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(size))));
  }
  return elements;
}

void check_against_double(const Gpt2Config& config, TestBatch batch, Algorithm algorithm) {
  Context ctx(options().device, {.poison = true});
  ctx.prefer("attention", {.algorithm = algorithm});
  Gpt2 model(ctx, config);
  randomize(ctx, model, 1);
  const Gpt2TrainingPass training = {.seed = 17, .step = 5};
  const Gpt2Double double_model(config, batch, &training);
  NamedValues parameters = values_of(model);

  const double expected = double_model.loss(parameters);
  EXPECT_NEAR(model.forward_backward(ctx, batch.view(), training), expected, 1e-6 * expected);
  Random random(random_key(1, 2, 0));
  for (const auto& [name, gradient] : gradients_of(model)) {
    for (const int64_t i : elements_of(gradient, random)) {
      EXPECT_NEAR(gradient[i], central_difference(double_model, parameters, parameters[name][i]),
                  2e-5 * largest(gradient))
          << name << "[" << i << "]";
    }
  }
}

class Gpt2Gradient : public ::testing::TestWithParam<Algorithm> {};

TEST_P(Gpt2Gradient, IsThatOfTheDoubleModel) {
  const Gpt2Config config = {.vocab_size = 37,
                             .n_positions = 20,
                             .n_embd = 24,
                             .n_layer = 2,
                             .n_head = 3,
                             .resid_pdrop = 0.2,
                             .embd_pdrop = 0.1,
                             .attn_pdrop = 0.25};
  TestBatch batch = random_batch(config, 2, 18, 3);
  batch.begin = {3, 0};
  batch.end = {18, 11};
  std::fill(batch.labels.begin(), batch.labels.begin() + 4, kIgnoredLabel);
  std::fill(batch.labels.begin() + 18 + 11, batch.labels.end(), kIgnoredLabel);
  check_against_double(config, batch, GetParam());
}

TEST_P(Gpt2Gradient, WithOneHeadAndANarrowFeedForward) {
  const Gpt2Config config = {.vocab_size = 11,
                             .n_positions = 33,
                             .n_embd = 16,
                             .n_layer = 1,
                             .n_head = 1,
                             .n_inner = 20,
                             .layer_norm_epsilon = 1e-2,
                             .resid_pdrop = 0,
                             .embd_pdrop = 0.5,
                             .attn_pdrop = 0.5};
  check_against_double(config, random_batch(config, 1, 33, 4), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Algorithms, Gpt2Gradient,
                         ::testing::Values(Algorithm::standard, Algorithm::flash),
                         [](const auto& test) { return std::string(to_text(test.param)); });

}  // namespace
}  // namespace strobe::testing
