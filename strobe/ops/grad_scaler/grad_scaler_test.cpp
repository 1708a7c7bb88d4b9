#include "strobe/ops/grad_scaler/grad_scaler.h"

#include <cmath>

#include "strobe/ops/grad_scaler/grad_scaler_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;

// A state as a run begins with it, outputs of no value yet.
GradScaler make_scaler(testing::TensorSource& make, double loss_scale) {
  return {.norm = make.number(DType::f32, 0),
          .state = {.loss_scale = make.number(DType::f32, loss_scale),
                    .finite_steps = make.number(DType::i32, 0),
                    .steps_taken = make.number(DType::i32, 0),
                    .steps_skipped = make.number(DType::i32, 0)},
          .unscaled_norm = make.empty(DType::f32, {1}),
          .gradient_scale = make.empty(DType::f32, {1}),
          .is_skipped = make.empty(DType::i32, {1})};
}

double value_of(const Tensor& number) { return testing::to_doubles(number)[0]; }

void set(const Tensor& number, double value) {
  testing::fill(number, [&] { return value; });
}

std::string draw_case(Random& random) {
  return fmt::format("steps=200 overflow={} clip={} interval={} scale={} dtype=f32 seed={}",
                     testing::pick(random, std::vector<double>{0, 0.02, 0.3, 1}),
                     testing::pick(random, std::vector<double>{0, 1, 2.5}),
                     testing::pick(random, std::vector<int>{0, 1, 3, 20}),
                     testing::pick(random, std::vector<double>{1, 65536}), random.below(1000000));
}

// Finite norms around what clipping bounds, and among them infinite ones and NaN.
double draw_norm(Random& random, double overflow, double loss_scale) {
  if (random.uniform() < overflow) return random.below(2) == 0 ? HUGE_VAL : std::nan("");
  return std::abs(random.normal()) * 2 * loss_scale;
}

void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  GradScaler args = make_scaler(make, c.real("scale"));
  args.max_norm = static_cast<float>(c.real("clip"));
  args.growth_interval = static_cast<int>(c.number("interval"));
  GradScalerReference expected = {.max_norm = args.max_norm,
                                  .growth_factor = args.growth_factor,
                                  .backoff_factor = args.backoff_factor,
                                  .growth_interval = args.growth_interval,
                                  .loss_scale = c.real("scale")};
  for (int64_t step = 0; step < c.number("steps"); ++step) {
    set(args.norm, draw_norm(make.random, c.real("overflow"), expected.loss_scale));
    const double norm = value_of(args.norm);
    update_grad_scaler(ctx, args);
    expected.update(norm);
    EXPECT_EQ(value_of(args.state.loss_scale), testing::rounded(expected.loss_scale, DType::f32));
    EXPECT_EQ(value_of(args.state.finite_steps), expected.finite_steps);
    EXPECT_EQ(value_of(args.state.steps_taken), expected.steps_taken);
    EXPECT_EQ(value_of(args.state.steps_skipped), expected.steps_skipped);
    EXPECT_EQ(value_of(args.is_skipped), expected.is_skipped ? 1 : 0);
    // One rounding of the double result; below f32's normal numbers an absolute one.
    EXPECT_TRUE(testing::is_close("gradient_scale", {value_of(args.gradient_scale)},
                                  {expected.gradient_scale}, 1e-7, 1e-45));
    if (!expected.is_skipped) {
      EXPECT_TRUE(testing::is_close("unscaled_norm", {value_of(args.unscaled_norm)},
                                    {expected.unscaled_norm}, 1e-7, 1e-45));
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(GradScaler, ConformsToReference) {
  testing::run_conformance("grad_scaler", grad_scaler_impls(), testing::random_cases(10, draw_case),
                           run_case);
}

// The values of PyTorch's GradScaler(growth_interval=2) after each of six steps.
TEST(GradScaler, GrowsAndBacksOffAsPyTorch) {
  testing::run_conformance("grad_scaler", grad_scaler_impls(), {"dtype=f32 seed=1"},
                           [](Context& ctx, const CaseLine& c) {
                             testing::TensorSource make{ctx.arena(), c.random()};
                             GradScaler args = make_scaler(make, 65536);
                             args.growth_interval = 2;
                             const double norms[] = {1, 1, HUGE_VAL, 1, HUGE_VAL, 1, 1};
                             const double scales[] = {65536, 131072, 65536, 65536,
                                                      32768, 32768,  65536};
                             for (int i = 0; i < 7; ++i) {
                               set(args.norm, norms[i]);
                               update_grad_scaler(ctx, args);
                               EXPECT_EQ(value_of(args.state.loss_scale), scales[i]) << i;
                             }
                             EXPECT_EQ(value_of(args.state.steps_taken), 5);
                             EXPECT_EQ(value_of(args.state.steps_skipped), 2);
                           });
}

// The largest scale that f32 holds is not left behind.
TEST(GradScaler, ScaleStaysFinite) {
  testing::run_conformance("grad_scaler", grad_scaler_impls(), {"dtype=f32 seed=1"},
                           [](Context& ctx, const CaseLine& c) {
                             testing::TensorSource make{ctx.arena(), c.random()};
                             GradScaler args = make_scaler(make, 0x1p127);
                             args.growth_interval = 1;
                             set(args.norm, 1);
                             update_grad_scaler(ctx, args);
                             EXPECT_EQ(value_of(args.state.loss_scale), 0x1p127);
                             EXPECT_EQ(value_of(args.state.finite_steps), 0);
                           });
}

TEST(GradScaler, BadArgumentsAreNamed) {
  Context ctx;
  testing::TensorSource make{ctx.arena(), Random(PhiloxKey{{1, 1}})};
  const GradScaler good = make_scaler(make, 1);
  const auto message_of = [&](const GradScaler& args) {
    return testing::error_of([&] { update_grad_scaler(ctx, args); });
  };
  GradScaler bad = good;
  bad.max_norm = -1;
  EXPECT_EQ(message_of(bad), "the largest gradient norm is -1, it must not be negative");
  bad = good;
  bad.backoff_factor = 0;
  EXPECT_EQ(message_of(bad), "grad_scaler backoff_factor is 0, allowed is (0, 1]");
  bad = good;
  bad.state.steps_taken = good.norm;
  EXPECT_EQ(message_of(bad), "grad_scaler steps_taken is f32, expected i32");
  bad = good;
  bad.is_skipped = {};
  EXPECT_EQ(message_of(bad), "grad_scaler is_skipped is missing");
}

}  // namespace
}  // namespace strobe
