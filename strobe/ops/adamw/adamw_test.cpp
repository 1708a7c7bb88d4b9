#include "strobe/ops/adamw/adamw.h"

#include "strobe/ops/adamw/adamw_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  return fmt::format("n={} dtype=f32 working={} steps={} decay={} scale={} seed={}",
                     testing::pick(random, std::vector<int>{1, 5, 16, 31, 1000, 10007}),
                     random.below(2), testing::pick(random, std::vector<int>{1, 3, 10}),
                     testing::pick(random, std::vector<double>{0, 0.1}),
                     testing::pick(random, std::vector<double>{1, 0.25}), random.below(1000000));
}

// Several steps in a row: the relative errors of m and v (a few roundings a step) must not grow.
void run_case(Context& ctx, const CaseLine& c) {
  const Shape shape = {c.number("n")};
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor master = make.normal(DType::f32, shape);
  const Tensor working = c.is_set("working") ? make.empty(DType::bf16, shape) : Tensor{};
  const Tensor m = make.empty(DType::f32, shape), v = make.empty(DType::f32, shape);
  testing::fill(m, [] { return 0.0; });
  testing::fill(v, [] { return 0.0; });
  Doubles masters = testing::to_doubles(master);
  Doubles ms(masters.size(), 0.0), vs(masters.size(), 0.0);
  for (int64_t step = 1; step <= c.number("steps"); ++step) {
    const Tensor gradient = make.normal(DType::f32, shape, 1e-3);
    const AdamW args = {.master = master,
                        .working = working,
                        .gradient = gradient,
                        .m = m,
                        .v = v,
                        .learning_rate = 6e-4f,
                        .weight_decay = static_cast<float>(c.real("decay")),
                        .gradient_scale = static_cast<float>(c.real("scale")),
                        .step = step};
    const testing::InputsUnchanged inputs({gradient});
    adamw(ctx, args);
    adamw_reference({.learning_rate = args.learning_rate,
                     .beta1 = args.beta1,
                     .beta2 = args.beta2,
                     .epsilon = args.epsilon,
                     .weight_decay = args.weight_decay,
                     .gradient_scale = args.gradient_scale,
                     .step = step},
                    testing::to_doubles(gradient), masters, ms, vs);
  }
  EXPECT_TRUE(testing::is_close("m", testing::to_doubles(m), ms, 1e-6, 1e-9));
  EXPECT_TRUE(testing::is_close("v", testing::to_doubles(v), vs, 3e-6, 0));
  EXPECT_TRUE(testing::is_close("master", testing::to_doubles(master), masters, 2e-6, 2e-7));
  if (!working.has_data()) return;
  Doubles copies = testing::to_doubles(master);
  for (double& value : copies) value = testing::rounded(value, DType::bf16);
  EXPECT_TRUE(testing::is_equal("working", testing::to_doubles(working), copies));
}

TEST(AdamW, ConformsToReference) {
  testing::run_conformance("adamw", adamw_impls(), testing::random_cases(40, draw_case), run_case);
}

TEST(AdamW, DecayIsDecoupled) {
  Context ctx;
  float master = 2, gradient = 0, m = 0, v = 0;
  adamw(ctx, {.master = Tensor::of(&master, {1}),
              .gradient = Tensor::of(&gradient, {1}),
              .m = Tensor::of(&m, {1}),
              .v = Tensor::of(&v, {1}),
              .learning_rate = 0.5f,
              .weight_decay = 0.25f});
  EXPECT_EQ(master, 2 * (1 - 0.5f * 0.25f));  // no gradient: decay alone, moments stay 0
  EXPECT_EQ(m, 0);
  EXPECT_EQ(v, 0);
}

TEST(AdamW, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(8, 0.0f);
  const Tensor t = Tensor::of(memory.data(), {8});
  const AdamW good = {.master = t, .gradient = t, .m = t, .v = t};
  const auto message_of = [&](const AdamW& args) {
    return testing::error_of([&] { adamw(ctx, args); });
  };
  AdamW bad = good;
  bad.beta2 = 1;
  EXPECT_EQ(message_of(bad), "adamw beta2 is 1, allowed is [0, 1)");
  bad = good;
  bad.step = 0;
  EXPECT_EQ(message_of(bad), "adamw step is 0, steps count from 1");
  bad = good;
  bad.v = Tensor::of(memory.data(), {7});
  EXPECT_EQ(message_of(bad), "adamw v has shape [7], expected [8]");
}

}  // namespace
}  // namespace strobe
