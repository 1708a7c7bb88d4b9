#include "strobe/ops/gelu/gelu.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "strobe/ops/gelu/gelu_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  return fmt::format("n={} dtype={} spread={} inplace={} seed={}",
                     testing::pick(random, std::vector<int>{0, 1, 15, 17, 1000, 4097, 10000}),
                     testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16}),
                     testing::pick(random, std::vector<double>{0.01, 1, 10}), random.below(2),
                     random.below(1000000));
}

// Bounds: y is x times 1/(1 + e^t); an f32 exponent t of up to 87 has an absolute error of up to
// 1e-5. A derivative is a sum of terms of size 1.
void run_case(Context& ctx, const CaseLine& c) {
  const Shape shape = {c.number("n")};
  const DType dtype = c.dtype();
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.normal(dtype, shape, c.real("spread"));
  const Tensor y = make.empty(dtype, shape);
  const Tensor dy = make.normal(dtype, shape);
  const Tensor dx = c.is_set("inplace") ? dy : make.empty(dtype, shape);
  const Doubles dys = testing::to_doubles(dy), xs = testing::to_doubles(x);
  const testing::InputsUnchanged inputs({x});
  gelu_forward(ctx, {.x = x, .y = y});
  gelu_backward(ctx, {.x = x, .dy = dy, .dx = dx});
  const double rounding = 0.5 * epsilon_of(dtype);
  EXPECT_TRUE(testing::is_close("y", testing::to_doubles(y), gelu_forward_reference(xs),
                                rounding + 1.5e-5, 1e-36 + testing::rounding_near_zero(dtype)));
  EXPECT_TRUE(testing::is_close("dx", testing::to_doubles(dx), gelu_backward_reference(xs, dys),
                                rounding + 1e-6, 2e-6));
}

TEST(Gelu, ConformsToReference) {
  testing::run_conformance("gelu", gelu_impls(), testing::random_cases(100, draw_case), run_case);
}

// Far from 0, GELU is x or 0 and its derivative 1 or 0; NaN stays NaN.
void run_extreme_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Doubles values = {20, 1e10, 3e38, -20, -1e10, -3e38, std::nan(""), 0};
  const Doubles derivatives = {1, 1, 1, 0, 0, 0, std::nan(""), 0.5};
  const Tensor x = make.empty(c.dtype(), {8}), y = make.empty(c.dtype(), {8});
  const Tensor ones = make.empty(c.dtype(), {8}), dx = make.empty(c.dtype(), {8});
  testing::fill(x, values);
  testing::fill(ones, [] { return 1.0; });
  gelu_forward(ctx, {.x = x, .y = y});
  gelu_backward(ctx, {.x = x, .dy = ones, .dx = dx});
  const Doubles xs = testing::to_doubles(x), ys = testing::to_doubles(y),
                dxs = testing::to_doubles(dx);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      EXPECT_TRUE(std::isnan(ys[i]) && std::isnan(dxs[i]));
    } else {
      EXPECT_EQ(ys[i], std::max(0.0, xs[i]));
      EXPECT_EQ(dxs[i], derivatives[i]) << "at x = " << xs[i];
    }
  }
}

TEST(Gelu, ExtremeValues) {
  testing::run_conformance("gelu", gelu_impls(), {"dtype=f32 seed=1", "dtype=bf16 seed=1"},
                           run_extreme_case);
}

TEST(Gelu, ReferenceGradientIsTheDerivative) {
  Random random(PhiloxKey{{1, 6}});
  Doubles x(50), dy(50);
  for (double& value : x) value = 2 * random.normal();
  for (double& value : dy) value = random.normal();
  const auto loss = [&](const Doubles& at) {
    const Doubles y = gelu_forward_reference(at);
    return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  };
  EXPECT_TRUE(testing::is_close("dx", gelu_backward_reference(x, dy),
                                testing::numerical_gradient(loss, x), 1e-7, 1e-8));
}

TEST(Gelu, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(8);
  const Tensor t = Tensor::of(memory.data(), {8});
  EXPECT_EQ(testing::error_of([&] { gelu_forward(ctx, {.x = t, .y = t.slice(0, 0, 4)}); }),
            "gelu y has shape [4], expected [8]");
  EXPECT_EQ(testing::error_of([&] { gelu_backward(ctx, {.x = t, .dx = t}); }),
            "gelu dy is missing");
}

}  // namespace
}  // namespace strobe
