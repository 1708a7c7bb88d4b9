#include "strobe/ops/adamw/adamw.h"

#include <cmath>

#include "strobe/ops/adamw/adamw_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

// Sizes on both sides of what kernels cut parameters into; the last few vary.
std::string draw_case(Random& random) {
  return fmt::format(
      "n={} tensors={} dtype=f32 working={} steps={} decay={} scale={} seed={}",
      testing::pick(random, std::vector<int>{1, 5, 16, 31, 1000, 8192, 10007, 70000}),
      testing::pick(random, std::vector<int>{1, 2, 7}),
      testing::pick(random, std::vector<std::string>{"f32", "f16", "bf16"}),
      testing::pick(random, std::vector<int>{1, 3, 10}),
      testing::pick(random, std::vector<double>{0, 0.1}),
      testing::pick(random, std::vector<double>{1, 0.25}), random.below(1000000));
}

// What one parameter is, and what it should be.
struct Expected {
  AdamWParameter parameter;
  Doubles master, m, v;
};

Expected make_parameter(testing::TensorSource& make, int64_t count, DType working, bool decays) {
  const auto zeros = [&] {
    const Tensor tensor = make.empty(DType::f32, {count});
    testing::fill(tensor, [] { return 0.0; });
    return tensor;
  };
  Expected e;
  e.parameter = {.master = make.normal(DType::f32, {count}),
                 .working = working == DType::f32 ? Tensor{} : make.empty(working, {count}),
                 .gradient = make.empty(DType::f32, {count}),
                 .m = zeros(),
                 .v = zeros(),
                 .decays = decays};
  e.master = testing::to_doubles(e.parameter.master);
  e.m = e.v = Doubles(e.master.size(), 0.0);
  return e;
}

AdamWStep make_step(testing::TensorSource& make) {
  return {.learning_rate = make.number(DType::f32, 6e-4),
          .gradient_scale = make.number(DType::f32, 1),
          .step = make.number(DType::i32, 1),
          .is_skipped = make.number(DType::i32, 0)};
}

void set(const Tensor& number, double value) {
  testing::fill(number, [&] { return value; });
}

void expect_update(const Expected& e) {
  const AdamWParameter& p = e.parameter;
  EXPECT_TRUE(testing::is_close("m", testing::to_doubles(p.m), e.m, 1e-6, 1e-9));
  EXPECT_TRUE(testing::is_close("v", testing::to_doubles(p.v), e.v, 3e-6, 0));
  const Doubles master = testing::to_doubles(p.master);
  EXPECT_TRUE(testing::is_close("master", master, e.master, 2e-6, 2e-7));
  if (!p.working.has_data()) return;
  Doubles copies = master;
  for (double& value : copies) value = testing::rounded(value, p.working.dtype);
  EXPECT_TRUE(testing::is_equal("working", testing::to_doubles(p.working), copies));
}

// Several steps in a row: the relative errors of m and v (a few roundings a step) must not grow.
// Parameters decay in turns.
void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  AdamWStep args = make_step(make);
  args.weight_decay = static_cast<float>(c.real("decay"));
  set(args.gradient_scale, c.real("scale"));
  std::vector<Expected> all;
  std::vector<AdamWParameter> parameters;
  for (int64_t i = 0; i < c.number("tensors"); ++i) {
    all.push_back(make_parameter(make, c.number("n") + i, c.dtype("working"), i % 2 == 0));
    parameters.push_back(all.back().parameter);
  }
  const double rate = testing::to_doubles(args.learning_rate)[0];
  for (int64_t step = 1; step <= c.number("steps"); ++step) {
    set(args.step, static_cast<double>(step));
    std::vector<Tensor> gradients;
    for (Expected& e : all) {
      const AdamWParameter& p = e.parameter;
      testing::fill_normal(p.gradient, make.random, 1e-3);
      gradients.push_back(p.gradient);
      adamw_reference({.learning_rate = rate,
                       .beta1 = args.beta1,
                       .beta2 = args.beta2,
                       .epsilon = args.epsilon,
                       .weight_decay = p.decays ? args.weight_decay : 0.0,
                       .gradient_scale = c.real("scale"),
                       .step = step},
                      testing::to_doubles(p.gradient), e.master, e.m, e.v);
    }
    const testing::InputsUnchanged inputs(gradients);
    adamw(ctx, parameters, args);
  }
  for (const Expected& e : all) expect_update(e);
}

TEST(AdamW, ConformsToReference) {
  testing::run_conformance("adamw", adamw_impls(), testing::random_cases(40, draw_case), run_case);
}

// Without a gradient there is decay alone, and the moments stay 0.
void run_decay_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Expected e = make_parameter(make, 1, DType::f32, true);
  set(e.parameter.master, 2);
  set(e.parameter.gradient, 0);
  AdamWStep step = make_step(make);
  set(step.learning_rate, 0.5);
  step.weight_decay = 0.25f;
  adamw(ctx, std::vector{e.parameter}, step);
  EXPECT_EQ(testing::to_doubles(e.parameter.master)[0], 2 * (1 - 0.5 * 0.25));
  EXPECT_EQ(testing::to_doubles(e.parameter.m)[0], 0);
  EXPECT_EQ(testing::to_doubles(e.parameter.v)[0], 0);
}

TEST(AdamW, DecayIsDecoupled) {
  testing::run_conformance("adamw", adamw_impls(), {"dtype=f32 seed=1"}, run_decay_case);
}

void run_skipped_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Expected e = make_parameter(make, c.number("n"), DType::bf16, true);
  set(e.parameter.gradient, HUGE_VAL);
  set(e.parameter.working, 3);
  AdamWStep step = make_step(make);
  set(step.is_skipped, 1);
  step.weight_decay = 0.1f;
  const AdamWParameter& p = e.parameter;
  const testing::InputsUnchanged unchanged({p.master, p.working, p.gradient, p.m, p.v});
  adamw(ctx, std::vector{p}, step);
}

TEST(AdamW, SkippedStepChangesNothing) {
  testing::run_conformance("adamw", adamw_impls(), {"n=1000 dtype=f32 seed=1"}, run_skipped_case);
}

// More tensors than one launch of a kernel may take.
void run_many_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  std::vector<Expected> all;
  std::vector<AdamWParameter> parameters;
  for (int64_t i = 0; i < c.number("tensors"); ++i) {
    all.push_back(make_parameter(make, i % 3, DType::bf16, i % 2 == 0));
    parameters.push_back(all.back().parameter);
    set(all.back().parameter.gradient, 1e-3 * static_cast<double>(i));
  }
  const AdamWStep step = make_step(make);
  adamw(ctx, parameters, step);
  for (Expected& e : all) {
    adamw_reference({.learning_rate = testing::to_doubles(step.learning_rate)[0],
                     .beta1 = step.beta1,
                     .beta2 = step.beta2,
                     .epsilon = step.epsilon,
                     .weight_decay = 0,
                     .gradient_scale = 1,
                     .step = 1},
                    testing::to_doubles(e.parameter.gradient), e.master, e.m, e.v);
    expect_update(e);
  }
}

TEST(AdamW, ManyTensors) {
  testing::run_conformance("adamw", adamw_impls(), {"tensors=1300 dtype=f32 seed=1"},
                           run_many_case);
}

TEST(AdamW, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(8, 0.0f);
  int32_t one = 1;
  const Tensor t = Tensor::of(memory.data(), {8}), number = Tensor::of(memory.data(), {1});
  const AdamWParameter good = {.master = t, .gradient = t, .m = t, .v = t};
  const AdamWStep good_step = {.learning_rate = number,
                               .gradient_scale = number,
                               .step = Tensor::of(&one, {1}),
                               .is_skipped = Tensor::of(&one, {1})};
  const auto message_of = [&](const AdamWParameter& parameter, const AdamWStep& step) {
    return testing::error_of([&] { adamw(ctx, std::vector{parameter}, step); });
  };
  AdamWStep bad_step = good_step;
  bad_step.beta2 = 1;
  EXPECT_EQ(message_of(good, bad_step), "adamw beta2 is 1, allowed is [0, 1)");
  bad_step = good_step;
  bad_step.step = number;
  EXPECT_EQ(message_of(good, bad_step), "adamw step is f32, expected i32");
  AdamWParameter bad = good;
  bad.v = Tensor::of(memory.data(), {7});
  EXPECT_EQ(message_of(bad, good_step), "adamw v has shape [7], expected [8]");
  bad = good;
  bad.working = t;
  EXPECT_EQ(message_of(bad, good_step), "adamw working is f32, allowed are f16 and bf16");
}

}  // namespace
}  // namespace strobe
