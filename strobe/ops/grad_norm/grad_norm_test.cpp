#include "strobe/ops/grad_norm/grad_norm.h"

#include <cmath>
#include <limits>

#include "strobe/core/parallel.h"
#include "strobe/ops/grad_norm/grad_norm_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  return fmt::format("a={} b={} deviation={} dtype=f32 seed={}",
                     testing::pick(random, std::vector<int>{1, 7, 16, 1000, 270000}),
                     testing::pick(random, std::vector<int>{0, 1, 33, 262144}),
                     testing::pick(random, std::vector<double>{1, 1e-20, 1e30}),
                     random.below(1000000));
}

void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const std::vector<Tensor> gradients = {
      make.normal(DType::f32, {c.number("a")}, c.real("deviation")),
      make.normal(DType::f32, {c.number("b"), 1}, c.real("deviation"))};
  Doubles all = testing::to_doubles(gradients[0]);
  const Doubles second = testing::to_doubles(gradients[1]);
  all.insert(all.end(), second.begin(), second.end());
  const double norm = grad_norm(ctx, gradients);
  EXPECT_TRUE(testing::is_close("norm", {norm}, {grad_norm_reference(all)}, 1e-13, 0));
  // The same bits for every number of threads.
  const int threads = thread_count();
  for (const int other : {1, 2, 3}) {
    set_thread_count(other);
    EXPECT_EQ(grad_norm(ctx, gradients), norm) << other << " threads";
  }
  set_thread_count(threads);
}

TEST(GradNorm, ConformsToReference) {
  testing::run_conformance("grad_norm", grad_norm_impls(), testing::random_cases(12, draw_case),
                           run_case);
}

void run_infinite_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor gradient = make.normal(DType::f32, {1000});
  gradient.as<float>()[c.number("at")] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(grad_norm(ctx, std::vector{gradient}), std::numeric_limits<double>::infinity());
  gradient.as<float>()[c.number("at")] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(grad_norm(ctx, std::vector{gradient})));
}

TEST(GradNorm, InfinityAndNanAreSeen) {
  testing::run_conformance("grad_norm", grad_norm_impls(),
                           {"at=3 dtype=f32 seed=1", "at=999 dtype=f32 seed=2"}, run_infinite_case);
}

TEST(GradNorm, ClipFactor) {
  EXPECT_EQ(clip_factor(10, 0), 1);  // no clipping
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_FLOAT_EQ(clip_factor(4, 1), 0.25f);
  EXPECT_EQ(clip_factor(std::numeric_limits<double>::infinity(), 1), 0);
  EXPECT_TRUE(std::isnan(clip_factor(std::nan(""), 1)));
  EXPECT_EQ(testing::error_of([] { clip_factor(1, -1); }),
            "the largest gradient norm is -1, it must not be negative");
}

}  // namespace
}  // namespace strobe
