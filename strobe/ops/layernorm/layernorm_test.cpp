#include "strobe/ops/layernorm/layernorm.h"

#include <cmath>
#include <numeric>

#include "strobe/core/element_dropout.h"
#include "strobe/ops/layernorm/layernorm_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

constexpr float kEpsilon = 1e-5f;

std::string draw_case(Random& random) {
  return fmt::format(
      "rows={} c={} dtype={} residual={} inplace={} accumulate={} branch={} p={} seed={}",
      testing::pick(random, std::vector<int>{1, 2, 3, 5, 17, 64}),
      testing::pick(random,
                    std::vector<int>{1, 7, 15, 16, 17, 63, 100, 256, 768, 1023, 1600, 5000}),
      testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16}),
      random.below(2), random.below(2), random.below(2), random.below(2),
      testing::pick(random, std::vector<double>{0, 0.1, 0.5}), random.below(1000000));
}

// The plain computation in f32 that as_good_as_plain() measures against: the definition, term by
// term, results rounded to the tensors' type.
struct Plain {
  Doubles y, dx, dweight, dbias;
};
Plain plain_layernorm(const Doubles& x, const Doubles& weight, const Doubles& bias,
                      const Doubles& dy, const Doubles& dresidual, DType dtype) {
  const size_t columns = weight.size(), rows = x.size() / columns;
  const auto n = static_cast<float>(columns);
  std::vector<float> dweight(columns, 0.0f), dbias(columns, 0.0f);
  Plain plain;
  for (size_t row = 0; row < rows; ++row) {
    const double* xs = &x[row * columns];
    const double* dys = &dy[row * columns];
    float mean = 0, variance = 0, mean_g = 0, mean_gx = 0;
    for (size_t c = 0; c < columns; ++c) mean += static_cast<float>(xs[c]) / n;
    for (size_t c = 0; c < columns; ++c) {
      const float centred = static_cast<float>(xs[c]) - mean;
      variance += centred * centred / n;
    }
    const float rstd = 1 / std::sqrt(variance + kEpsilon);
    const auto normal = [&](size_t c) { return (static_cast<float>(xs[c]) - mean) * rstd; };
    const auto g = [&](size_t c) {
      return static_cast<float>(dys[c]) * static_cast<float>(weight[c]);
    };
    for (size_t c = 0; c < columns; ++c) {
      plain.y.push_back(testing::rounded(
          normal(c) * static_cast<float>(weight[c]) + static_cast<float>(bias[c]), dtype));
      mean_g += g(c) / n;
      mean_gx += g(c) * normal(c) / n;
      dweight[c] += static_cast<float>(dys[c]) * normal(c);
      dbias[c] += static_cast<float>(dys[c]);
    }
    for (size_t c = 0; c < columns; ++c) {
      plain.dx.push_back(testing::rounded(rstd * (g(c) - mean_g - normal(c) * mean_gx) +
                                              static_cast<float>(dresidual[row * columns + c]),
                                          dtype));
    }
  }
  plain.dweight.assign(dweight.begin(), dweight.end());
  plain.dbias.assign(dbias.begin(), dbias.end());
  return plain;
}

Doubles operator+(Doubles a, const Doubles& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// The tensors of one case and both calls. `residual` is the forward pass's with a branch, and in
// any case the gradient that bypasses the layer.
struct Layer {
  LayernormForward forward;
  LayernormBackward backward;
  Doubles branch, residual, dy, dresidual, dweight, dbias;  // before the calls

  Layer(const CaseLine& c, testing::TensorSource& make) {
    const Shape rows = {c.number("rows"), c.number("c")}, columns = {rows[1]};
    const DType dtype = c.dtype();
    const bool is_in_place = c.is_set("inplace");
    Dropout dropout;
    forward = {.x = make.normal(dtype, rows),
               .weight = make.normal(DType::f32, columns),
               .bias = make.normal(DType::f32, columns),
               .y = make.empty(dtype, rows),
               .mean = make.empty(DType::f32, {rows[0]}),
               .rstd = make.empty(DType::f32, {rows[0]}),
               .epsilon = kEpsilon};
    const Tensor dresidual_tensor = make.normal(dtype, rows);
    backward = {.x = forward.x,
                .weight = forward.weight,
                .mean = forward.mean,
                .rstd = forward.rstd,
                .dy = make.normal(dtype, rows),
                .dx = is_in_place ? dresidual_tensor : make.empty(dtype, rows),
                .dweight = make.normal(DType::f32, columns),
                .dbias = make.normal(DType::f32, columns),
                .accumulate = c.is_set("accumulate")};
    if (c.is_set("residual")) backward.dresidual = dresidual_tensor;
    if (c.is_set("branch")) {
      forward.branch = make.normal(dtype, rows);
      if (c.is_set("residual")) forward.residual = make.normal(dtype, rows);
      forward.x = !is_in_place           ? make.empty(dtype, rows)
                  : c.is_set("residual") ? forward.residual
                                         : forward.branch;
      backward.x = forward.x;
      forward.dropout = Dropout::with(c.real("p"), random_key(make.random.below(1000), 3, 5));
      backward.dropout = forward.dropout;
      backward.dbranch = is_in_place ? backward.dy : make.empty(dtype, rows);
    }
    const Doubles none(forward.x.numel(), 0.0), no_sums(rows[1], 0.0);
    const auto before = [](const Tensor& tensor, bool is_there, const Doubles& otherwise) {
      return is_there ? testing::to_doubles(tensor) : otherwise;
    };
    branch = before(forward.branch, c.is_set("branch"), {});
    residual = before(forward.residual, forward.residual.has_data(), {});
    dy = testing::to_doubles(backward.dy);
    dresidual = before(backward.dresidual, c.is_set("residual"), none);
    dweight = before(backward.dweight, backward.accumulate, no_sums);
    dbias = before(backward.dbias, backward.accumulate, no_sums);
  }
};

void run_case(Context& ctx, const CaseLine& c) {
  const int64_t columns = c.number("c");
  const DType dtype = c.dtype();
  testing::TensorSource make{ctx.arena(), c.random()};
  const Layer layer(c, make);
  const LayernormForward& forward = layer.forward;
  const LayernormBackward& backward = layer.backward;
  {
    const testing::InputsUnchanged parameters({forward.weight, forward.bias});
    layernorm_forward(ctx, forward);
    const testing::InputsUnchanged inputs({forward.x, forward.y, forward.mean, forward.rstd});
    layernorm_backward(ctx, backward);
  }
  // One multiplication and one addition in f32, then the rounding to the type.
  const double rounding = 0.5 * epsilon_of(dtype) + 2e-7;
  const Doubles xs = testing::to_doubles(forward.x);
  if (c.is_set("branch")) {
    EXPECT_TRUE(testing::is_close(
        "x", xs, add_dropped_reference(layer.branch, layer.residual, forward.dropout), rounding,
        1e-6));
    EXPECT_TRUE(testing::is_close(
        "dbranch", testing::to_doubles(backward.dbranch),
        add_dropped_reference(testing::to_doubles(backward.dx), {}, backward.dropout), rounding,
        testing::rounding_near_zero(dtype)));
  }
  const Doubles ws = testing::to_doubles(forward.weight), bs = testing::to_doubles(forward.bias);
  const auto reference = layernorm_forward_reference(xs, ws, bs, kEpsilon);
  const auto gradients = layernorm_backward_reference(xs, ws, layer.dy, kEpsilon);
  const Plain plain = plain_layernorm(xs, ws, bs, layer.dy, layer.dresidual, dtype);
  // Terms of size 1 may cancel in each.
  const auto expect_good = [&](const char* name, const Tensor& actual, const Doubles& plain_values,
                               const Doubles& exact) {
    EXPECT_TRUE(testing::as_good_as_plain(name, testing::to_doubles(actual), plain_values, exact,
                                          columns, actual.dtype, 1));
  };
  expect_good("y", forward.y, plain.y, reference.y);
  expect_good("dx", backward.dx, plain.dx, gradients.dx + layer.dresidual);
  expect_good("dweight", backward.dweight, plain.dweight + layer.dweight,
              gradients.dweight + layer.dweight);
  expect_good("dbias", backward.dbias, plain.dbias + layer.dbias, gradients.dbias + layer.dbias);
  // A mean of n numbers and its square root: a few roundings each, relative to the inputs' size.
  EXPECT_TRUE(
      testing::is_close("mean", testing::to_doubles(forward.mean), reference.mean, 1e-6, 1e-6));
  EXPECT_TRUE(
      testing::is_close("rstd", testing::to_doubles(forward.rstd), reference.rstd, 1e-5, 0));
}

TEST(Layernorm, ConformsToReference) {
  testing::run_conformance("layernorm", layernorm_impls(), testing::random_cases(150, draw_case),
                           run_case);
}

// A dropped element contributes nothing, whatever it is, and a kept one keeps its bits at p = 0.5:
// exactly the definition's elements fall.
void run_dropping_case(Context& ctx, const CaseLine& c) {
  const Shape rows = {c.number("rows"), c.number("c")}, columns = {rows[1]};
  const Dropout dropout = Dropout::with(0.5, random_key(c.number("seed"), 3, 5));
  const auto keeps = [&](int64_t e) {
    return dropout_keeps_element(dropout.threshold, dropout.key, e);
  };
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor branch = make.empty(c.dtype(), rows), x = make.empty(c.dtype(), rows);
  testing::fill(branch, [&, e = int64_t{0}]() mutable { return keeps(e++) ? 1.0 : NAN; });
  layernorm_forward(ctx, {.x = x,
                          .weight = make.normal(DType::f32, columns),
                          .bias = make.normal(DType::f32, columns),
                          .y = make.empty(c.dtype(), rows),
                          .mean = make.empty(DType::f32, {rows[0]}),
                          .rstd = make.empty(DType::f32, {rows[0]}),
                          .branch = branch,
                          .dropout = dropout});
  const Doubles xs = testing::to_doubles(x);
  for (size_t e = 0; e < xs.size(); ++e) {
    ASSERT_EQ(xs[e], keeps(static_cast<int64_t>(e)) ? 2 : 0) << "at " << e;
  }
}

TEST(Layernorm, DropsExactlyTheElementsOfTheDefinition) {
  testing::run_conformance("layernorm", layernorm_impls(),
                           {"rows=70 c=1024 dtype=f32 seed=7", "rows=19 c=27 dtype=bf16 seed=8",
                            "rows=19 c=48 dtype=f16 seed=9"},
                           run_dropping_case);
}

// The variance of large, close values: E[x²] − E[x]² would lose it, the second pass does not.
void run_shifted_case(Context& ctx, const CaseLine& c) {
  const int64_t columns = c.number("c");
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.empty(DType::f32, {1, columns}), y = make.empty(DType::f32, {1, columns});
  const Tensor weight = make.empty(DType::f32, {columns});
  const Tensor bias = make.empty(DType::f32, {columns});
  const Tensor mean = make.empty(DType::f32, {1}), rstd = make.empty(DType::f32, {1});
  testing::fill(x, [&] { return 1000 + make.random.normal(); });
  testing::fill(weight, [] { return 1.0; });
  testing::fill(bias, [] { return 0.0; });
  layernorm_forward(ctx, {.x = x,
                          .weight = weight,
                          .bias = bias,
                          .y = y,
                          .mean = mean,
                          .rstd = rstd,
                          .epsilon = kEpsilon});
  const auto reference = layernorm_forward_reference(
      testing::to_doubles(x), testing::to_doubles(weight), testing::to_doubles(bias), kEpsilon);
  // The mean itself has 24 bits: 6e-5 of 1000, and a few times that from its sum.
  EXPECT_TRUE(testing::is_close("y", testing::to_doubles(y), reference.y, 0, 3e-4));
}

TEST(Layernorm, LargeMeanKeepsTheVariance) {
  testing::run_conformance("layernorm", layernorm_impls(),
                           {"c=768 dtype=f32 seed=1", "c=33 dtype=f32 seed=2"}, run_shifted_case);
}

// The same bits again, with the same number of threads.
void run_repeated_case(Context& ctx, const CaseLine& c) {
  const Shape rows = {c.number("rows"), c.number("c")}, parameters = {c.number("c")};
  testing::TensorSource make{ctx.arena(), c.random()};
  const LayernormBackward args = {.x = make.normal(DType::f32, rows),
                                  .weight = make.normal(DType::f32, parameters),
                                  .mean = make.normal(DType::f32, {rows[0]}),
                                  .rstd = make.normal(DType::f32, {rows[0]}),
                                  .dy = make.normal(DType::f32, rows),
                                  .dx = make.empty(DType::f32, rows),
                                  .dweight = make.empty(DType::f32, parameters),
                                  .dbias = make.empty(DType::f32, parameters)};
  layernorm_backward(ctx, args);
  const testing::InputsUnchanged results({args.dx, args.dweight, args.dbias});
  for (int i = 0; i < 3; ++i) layernorm_backward(ctx, args);
}

TEST(Layernorm, BackwardIsReproducible) {
  testing::run_conformance("layernorm", layernorm_impls(), {"rows=333 c=100 dtype=f32 seed=1"},
                           run_repeated_case);
}

TEST(Layernorm, ReferenceGradientsAreDerivatives) {
  const size_t columns = 5, rows = 3;
  Random random(PhiloxKey{{1, 2}});
  const auto normal = [&](size_t n) {
    Doubles values(n);
    for (double& v : values) v = random.normal();
    return values;
  };
  const Doubles x = normal(rows * columns), weight = normal(columns), bias = normal(columns),
                dy = normal(rows * columns);
  const auto loss = [&](const Doubles& xs, const Doubles& ws, const Doubles& bs) {
    const Doubles y = layernorm_forward_reference(xs, ws, bs, kEpsilon).y;
    return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  };
  const LayernormGradients gradients = layernorm_backward_reference(x, weight, dy, kEpsilon);
  const auto expect_derivative = [](const char* name, const Doubles& gradient, auto f,
                                    const Doubles& at) {
    EXPECT_TRUE(testing::is_close(name, gradient, testing::numerical_gradient(f, at), 1e-7, 1e-7));
  };
  expect_derivative(
      "dx", gradients.dx, [&](auto& v) { return loss(v, weight, bias); }, x);
  expect_derivative(
      "dweight", gradients.dweight, [&](auto& v) { return loss(x, v, bias); }, weight);
  expect_derivative(
      "dbias", gradients.dbias, [&](auto& v) { return loss(x, weight, v); }, bias);
}

TEST(Layernorm, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(64, 1.0f);
  const auto tensor = [&](Shape shape) { return Tensor::of(memory.data(), shape); };
  const LayernormForward good = {.x = tensor({2, 8}),
                                 .weight = tensor({8}),
                                 .bias = tensor({8}),
                                 .y = tensor({2, 8}),
                                 .mean = tensor({2}),
                                 .rstd = tensor({2})};
  const auto message_of = [&](const LayernormForward& args) {
    return testing::error_of([&] { layernorm_forward(ctx, args); });
  };
  LayernormForward bad = good;
  bad.weight = tensor({7});
  EXPECT_EQ(message_of(bad), "layernorm weight has shape [7], expected [8]");
  bad = good;
  bad.y.device = DeviceKind::cuda;
  EXPECT_EQ(message_of(bad), "layernorm y is on cuda, the context on cpu");
  bad = good;
  bad.bias = {};
  EXPECT_EQ(message_of(bad), "layernorm bias is missing");
  bad = good;
  bad.x.strides[0] = 16;
  EXPECT_EQ(message_of(bad),
            "layernorm x of shape [2, 8] has strides [16, 1], it must be contiguous");
  bad = good;
  bad.x.dtype = bad.y.dtype = DType::f16;
  EXPECT_NE(message_of(bad).find("cpu_scalar: takes f32 and bf16, not f16"), std::string::npos);
}

}  // namespace
}  // namespace strobe
