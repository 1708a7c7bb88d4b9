#include "strobe/ops/dropout_add/dropout_add.h"

#include <cmath>
#include <numeric>

#include "strobe/core/element_dropout.h"
#include "strobe/ops/dropout_add/dropout_add_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

Dropout dropout_of(const CaseLine& c) {
  return Dropout::with(c.real("p"), random_key(static_cast<uint64_t>(c.number("seed")), 3, 5));
}

std::string draw_case(Random& random) {
  return fmt::format(
      "n={} p={} dtype={} residual={} inplace={} seed={}",
      testing::pick(random, std::vector<int>{0, 1, 15, 16, 17, 255, 257, 1000, 4096, 4097, 20001}),
      testing::pick(random, std::vector<double>{0, 0.1, 0.5, 0.9}),
      testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16}),
      random.below(2), random.below(3), random.below(1000000));
}

// One multiplication and one addition in f32, then the rounding to the type.
void run_case(Context& ctx, const CaseLine& c) {
  const Shape shape = {c.number("n")};
  const DType dtype = c.dtype();
  const Dropout dropout = dropout_of(c);
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.normal(dtype, shape);
  const Tensor residual = c.is_set("residual") ? make.normal(dtype, shape) : Tensor{};
  const Doubles xs = testing::to_doubles(x);
  const Doubles residuals = c.is_set("residual") ? testing::to_doubles(residual) : Doubles{};
  Tensor y = make.empty(dtype, shape);
  if (c.number("inplace") == 1) y = x;
  if (c.number("inplace") == 2 && residual.has_data()) y = residual;
  dropout_add_forward(ctx, {.x = x, .residual = residual, .y = y, .dropout = dropout});
  const double relative = 0.5 * epsilon_of(dtype) + 2e-7;
  EXPECT_TRUE(testing::is_close("y", testing::to_doubles(y),
                                dropout_add_forward_reference(xs, residuals, dropout), relative,
                                1e-6));

  const Tensor dy = make.normal(dtype, shape);
  const Doubles dys = testing::to_doubles(dy);
  const Tensor dx = c.number("inplace") == 1 ? dy : make.empty(dtype, shape);
  dropout_add_backward(ctx, {.dy = dy, .dx = dx, .dropout = dropout});
  EXPECT_TRUE(testing::is_close("dx", testing::to_doubles(dx),
                                dropout_add_backward_reference(dys, dropout), relative,
                                testing::rounding_near_zero(dtype)));
}

TEST(DropoutAdd, ConformsToReference) {
  testing::run_conformance("dropout_add", dropout_add_impls(),
                           testing::random_cases(120, draw_case), run_case);
}

// A dropped element contributes nothing, whatever it is, and a kept one keeps its bits at p = 0.5:
// exactly the reference's elements fall.
void run_mask_case(Context& ctx, const CaseLine& c) {
  const Dropout dropout = dropout_of(c);
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.empty(c.dtype(), {c.number("n")}),
               y = make.empty(c.dtype(), {c.number("n")});
  testing::fill(x, [e = int64_t{0}, &dropout]() mutable {
    return dropout_factor_reference(dropout, e++) == 0 ? std::nan("") : 1.0;
  });
  dropout_add_forward(ctx, {.x = x, .y = y, .dropout = dropout});
  const Doubles ys = testing::to_doubles(y);
  for (size_t e = 0; e < ys.size(); ++e) {
    ASSERT_EQ(ys[e], dropout_factor_reference(dropout, static_cast<int64_t>(e))) << "at " << e;
  }
}

TEST(DropoutAdd, DropsExactlyTheElementsOfTheDefinition) {
  testing::run_conformance("dropout_add", dropout_add_impls(),
                           {"n=70001 p=0.5 dtype=f32 seed=7", "n=513 p=0.5 dtype=bf16 seed=8",
                            "n=513 p=0.5 dtype=f16 seed=9"},
                           run_mask_case);
}

TEST(DropoutAdd, OneElementsDecisionIsTheDefinitions) {
  const Dropout dropout = Dropout::with(0.3, random_key(1, 2, 3));
  for (const int64_t first : {int64_t{0}, (int64_t{1} << 36) - 40}) {
    for (int64_t e = first; e < first + 100; ++e) {
      EXPECT_EQ(dropout_keeps_element(dropout.threshold, dropout.key, e),
                dropout_factor_reference(dropout, e) != 0)
          << "at " << e;
    }
  }
}

TEST(DropoutAdd, KeepRateIsTheProbability) {
  const Dropout dropout = Dropout::with(0.1, random_key(1, 2, 3));
  const int64_t n = 200000;
  int64_t kept = 0;
  for (int64_t e = 0; e < n; ++e) kept += dropout_factor_reference(dropout, e) != 0 ? 1 : 0;
  const double keep = 1 - dropout.probability();
  const double deviation = std::sqrt(n * keep * (1 - keep));
  EXPECT_NEAR(static_cast<double>(kept), n * keep, 4 * deviation);
}

TEST(DropoutAdd, ReferenceGradientIsTheDerivative) {
  const Dropout dropout = Dropout::with(0.4, random_key(1, 2, 3));
  Random random(PhiloxKey{{1, 4}});
  Doubles x(40), residual(40), dy(40);
  for (Doubles* values : {&x, &residual, &dy}) {
    for (double& value : *values) value = random.normal();
  }
  const auto loss = [&](const Doubles& at) {
    const Doubles y = dropout_add_forward_reference(at, residual, dropout);
    return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  };
  EXPECT_TRUE(testing::is_close("dx", dropout_add_backward_reference(dy, dropout),
                                testing::numerical_gradient(loss, x), 1e-7, 1e-8));
}

TEST(DropoutAdd, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(8);
  const Tensor t = Tensor::of(memory.data(), {8});
  EXPECT_EQ(testing::error_of([&] { dropout_add_forward(ctx, {.x = t, .y = t.slice(0, 0, 4)}); }),
            "dropout_add y has shape [4], expected [8]");
}

}  // namespace
}  // namespace strobe
