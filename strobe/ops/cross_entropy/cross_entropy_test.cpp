#include "strobe/ops/cross_entropy/cross_entropy.h"

#include <cmath>
#include <numeric>

#include "strobe/ops/cross_entropy/cross_entropy_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  return fmt::format(
      "rows={} v={} dtype={} gap={} spread={} ignored={} scale={} factor={} seed={}",
      testing::pick(random, std::vector<int>{0, 1, 2, 5, 17}),
      testing::pick(random, std::vector<int>{1, 2, 15, 17, 255, 256, 257, 1000, 3001}),
      testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16}),
      testing::pick(random, std::vector<int>{0, 3}),
      testing::pick(random, std::vector<double>{1, 5, 1000}),
      testing::pick(random, std::vector<double>{0, 0.3, 1}),
      testing::pick(random, std::vector<double>{0, 1, 0.015625}),
      testing::pick(random, std::vector<double>{0, 1, 2}), random.below(1000000));
}

void run_case(Context& ctx, const CaseLine& c) {
  const int64_t rows = c.number("rows"), vocab = c.number("v");
  const double scale = c.real("scale"), factor = c.real("factor");
  testing::TensorSource make{ctx.arena(), c.random()};
  const testing::StridedTensor logits =
      testing::allocate_strided(ctx.arena(), c.dtype(), {rows, vocab}, c.number("gap"));
  testing::fill_normal(logits.view, make.random, c.real("spread"));
  const Tensor labels = make.empty(DType::i32, {rows}), loss = make.empty(DType::f32, {rows});
  testing::fill(labels, [&]() -> double {
    if (make.random.uniform() < c.real("ignored")) return kIgnoredLabel;
    return static_cast<double>(make.random.below(vocab));
  });
  const Doubles before = testing::to_doubles(logits.view);
  const Doubles label_doubles = testing::to_doubles(labels);
  const std::vector<int32_t> label_values(label_doubles.begin(), label_doubles.end());
  const CrossEntropyReference reference =
      cross_entropy_reference(before, label_values, scale * factor);
  const Tensor factor_tensor = make.empty(DType::f32, {1});
  testing::fill(factor_tensor, [&] { return factor; });
  const testing::InputsUnchanged inputs({labels, factor_tensor});
  cross_entropy(ctx, {.logits = logits.view,
                      .labels = labels,
                      .loss = loss,
                      .gradient_scale = static_cast<float>(scale),
                      .scale = factor == 1 ? Tensor{} : factor_tensor});
  // The loss is a difference of f32 numbers of the logits' size (at most 5 deviations).
  EXPECT_TRUE(testing::is_close("loss", testing::to_doubles(loss), reference.loss, 1e-6,
                                2e-7 * 5 * c.real("spread")));
  const Doubles after = testing::to_doubles(logits.view);
  if (scale == 0) {
    EXPECT_TRUE(testing::is_equal("logits", after, before));
  } else {
    // Probabilities have the relative error of exp and of the difference to the maximum.
    const double epsilon = epsilon_of(c.dtype());
    EXPECT_TRUE(testing::is_close("gradient", after, reference.gradient, 4e-6 + 0.5 * epsilon,
                                  scale * factor * 2e-7 + testing::rounding_near_zero(c.dtype())));
  }
  if (c.number("gap") == 0) return;
  const Tensor gaps = logits.storage.slice(1, vocab, vocab + c.number("gap"));
  for (const double value : testing::to_doubles(gaps)) EXPECT_TRUE(std::isnan(value));
}

TEST(CrossEntropy, ConformsToReference) {
  testing::run_conformance("cross_entropy", cross_entropy_impls(),
                           testing::random_cases(100, draw_case), run_case);
}

// Extreme logits: −∞ is a probability of 0, and NaN or +∞ shows in the loss.
void run_extreme_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const int64_t vocab = c.number("v");
  const Tensor logits = make.normal(c.dtype(), {1, vocab});
  const Tensor labels = make.empty(DType::i32, {1}), loss = make.empty(DType::f32, {1});
  Doubles values(vocab, -HUGE_VAL);
  values[1] = values[vocab - 1] = -3e38;
  testing::fill(logits, values);
  testing::fill(labels, [] { return 1.0; });
  const CrossEntropy args = {.logits = logits, .labels = labels, .loss = loss, .gradient_scale = 1};
  cross_entropy(ctx, args);
  EXPECT_NEAR(testing::to_doubles(loss)[0], std::log(2.0), 1e-6);
  const Doubles gradient = testing::to_doubles(logits);
  for (int64_t i = 0; i < vocab; ++i) {
    EXPECT_EQ(gradient[i], i == 1 ? -0.5 : i == vocab - 1 ? 0.5 : 0) << "at " << i;
  }
  for (const int64_t at : {int64_t{0}, vocab / 2, vocab - 1}) {
    for (const double bad : {std::nan(""), HUGE_VAL}) {
      values.assign(vocab, 1.0);
      values[at] = bad;
      testing::fill(logits, values);
      cross_entropy(ctx, args);
      EXPECT_TRUE(std::isnan(testing::to_doubles(loss)[0])) << bad << " at " << at;
    }
  }
}

TEST(CrossEntropy, ExtremeLogits) {
  testing::run_conformance(
      "cross_entropy", cross_entropy_impls(),
      {"v=1000 dtype=f32 seed=1", "v=37 dtype=f32 seed=1", "v=300 dtype=bf16 seed=1"},
      run_extreme_case);
}

// A label that the host cannot check shows in the loss, and its row's gradient is 0.
void run_bad_label_case(Context& ctx, const CaseLine& c) {
  if (ctx.device().kind == DeviceKind::cpu) return;
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor logits = make.normal(c.dtype(), {3, 37});
  const Tensor labels = make.empty(DType::i32, {3}), loss = make.empty(DType::f32, {3});
  testing::fill(labels, {37, 5, -1});
  cross_entropy(ctx, {.logits = logits, .labels = labels, .loss = loss, .gradient_scale = 1});
  const Doubles losses = testing::to_doubles(loss), gradient = testing::to_doubles(logits);
  for (size_t row = 0; row < 3; ++row) EXPECT_EQ(std::isnan(losses[row]), row != 1);
  for (size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(gradient[i] == 0, i / 37 != 1);
}

TEST(CrossEntropy, BadLabelsOnAGpuAreSeen) {
  testing::run_conformance("cross_entropy", cross_entropy_impls(), {"dtype=f32 seed=1"},
                           run_bad_label_case);
}

TEST(CrossEntropy, ReferenceGradientIsTheDerivative) {
  Random random(PhiloxKey{{1, 3}});
  Doubles logits(4 * 6);
  for (double& value : logits) value = random.normal();
  const std::vector<int32_t> labels = {2, kIgnoredLabel, 0, 5};
  const auto loss = [&](const Doubles& x) {
    const Doubles losses = cross_entropy_reference(x, labels, 0.25).loss;
    return 0.25 * std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  EXPECT_TRUE(testing::is_close("gradient", cross_entropy_reference(logits, labels, 0.25).gradient,
                                testing::numerical_gradient(loss, logits), 1e-7, 1e-8));
}

TEST(CrossEntropy, BadLabelsAreNamed) {
  Context ctx;
  std::vector<float> logits(20), loss(2);
  std::vector<int32_t> labels = {3, 10};
  const auto message = [&] {
    return testing::error_of([&] {
      cross_entropy(ctx, {.logits = Tensor::of(logits.data(), {2, 10}),
                          .labels = Tensor::of(labels.data(), {2}),
                          .loss = Tensor::of(loss.data(), {2})});
    });
  };
  EXPECT_EQ(message(),
            "label 10 at row 1, allowed are 0 to 9 (the vocabulary has 10 entries) and -100 "
            "(ignored)");
  labels = {-1, 0};
  EXPECT_EQ(message(),
            "label -1 at row 0, allowed are 0 to 9 (the vocabulary has 10 entries) and -100 "
            "(ignored)");
  labels = {9, kIgnoredLabel};
  EXPECT_EQ(message(), "no error");
}

}  // namespace
}  // namespace strobe
