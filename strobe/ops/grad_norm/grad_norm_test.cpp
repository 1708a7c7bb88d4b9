#include "strobe/ops/grad_norm/grad_norm.h"

#include <cmath>

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

double norm_of(Context& ctx, std::span<const Tensor> gradients) {
  const Arena::Scope scope(ctx.arena());
  const Tensor norm = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {1});
  grad_norm(ctx, gradients, norm);
  return testing::to_doubles(norm)[0];
}

void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const std::vector<Tensor> gradients = {
      make.normal(DType::f32, {c.number("a")}, c.real("deviation")),
      make.normal(DType::f32, {c.number("b"), 1}, c.real("deviation"))};
  Doubles all = testing::to_doubles(gradients[0]);
  const Doubles second = testing::to_doubles(gradients[1]);
  all.insert(all.end(), second.begin(), second.end());
  const testing::InputsUnchanged inputs(gradients);
  const double norm = norm_of(ctx, gradients);
  // The double sum is right to far more than f32 has, so that is the exact norm, rounded.
  EXPECT_EQ(norm, testing::rounded(grad_norm_reference(all), DType::f32));
  // The same bits for every number of threads, and the next time.
  const int threads = thread_count();
  for (const int other : {1, 2, 3}) {
    set_thread_count(other);
    EXPECT_EQ(norm_of(ctx, gradients), norm) << other << " threads";
  }
  set_thread_count(threads);
}

TEST(GradNorm, ConformsToReference) {
  testing::run_conformance("grad_norm", grad_norm_impls(), testing::random_cases(12, draw_case),
                           run_case);
}

void run_infinite_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const std::vector<Tensor> gradients = {make.normal(DType::f32, {7}),
                                         make.normal(DType::f32, {1000})};
  const Tensor one = gradients[1].slice(0, c.number("at"), c.number("at") + 1);
  testing::fill(one, [] { return HUGE_VAL; });
  EXPECT_EQ(norm_of(ctx, gradients), HUGE_VAL);
  testing::fill(one, [] { return std::nan(""); });
  EXPECT_TRUE(std::isnan(norm_of(ctx, gradients)));
  testing::fill(gradients[1], [] { return 3e38; });  // finite elements, no norm in f32
  EXPECT_EQ(norm_of(ctx, gradients), HUGE_VAL);
}

TEST(GradNorm, InfinityAndNanAreSeen) {
  testing::run_conformance("grad_norm", grad_norm_impls(),
                           {"at=3 dtype=f32 seed=1", "at=999 dtype=f32 seed=2"}, run_infinite_case);
}

// More tensors than one launch of a kernel may take.
void run_many_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  std::vector<Tensor> gradients;
  double squares = 0;
  for (int64_t i = 0; i < c.number("tensors"); ++i) {
    gradients.push_back(make.empty(DType::f32, {i % 3}));
    testing::fill(gradients.back(), [&] { return static_cast<double>(i); });
    squares += static_cast<double>(i % 3 * i * i);
  }
  EXPECT_EQ(norm_of(ctx, gradients), testing::rounded(std::sqrt(squares), DType::f32));
}

TEST(GradNorm, ManyTensors) {
  testing::run_conformance("grad_norm", grad_norm_impls(), {"tensors=2500 dtype=f32 seed=1"},
                           run_many_case);
}

}  // namespace
}  // namespace strobe
