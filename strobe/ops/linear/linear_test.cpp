#include "strobe/ops/linear/linear.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "strobe/core/parallel.h"
#include "strobe/ops/linear/linear_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

// Layouts of the weight: row-major [K, N], or the transpose of a row-major [N, K]. Where its type
// is not that of x, there is no backward pass.
// gelu: 0 none, 1 fused, 2 with pre_activation. dx: 0 none, 1 plain, 2 through the GELU before.
std::string draw_case(Random& random) {
  const DType dtype =
      testing::pick(random, std::vector<DType>{DType::f32, DType::bf16, DType::f16});
  const DType weight = dtype == DType::f32 && random.below(2)
                           ? testing::pick(random, std::vector<DType>{DType::f16, DType::bf16})
                           : dtype;
  return fmt::format(
      "m={} k={} n={} dtype={} weight={} out={} transposed={} gap={} bias={} gelu={} dx={} "
      "accumulate={} seed={}",
      testing::pick(random, std::vector<int>{1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, 64}),
      testing::pick(random, std::vector<int>{1, 3, 16, 50, 128}),
      testing::pick(random, std::vector<int>{1, 5, 16, 65, 128, 257}), dtype, weight,
      testing::pick(random, std::vector<DType>{DType::f32, dtype}), random.below(2),
      testing::pick(random, std::vector<int>{0, 0, 5}), random.below(2), random.below(3),
      random.below(3), random.below(2), random.below(1000000));
}

double sigmoid_of_gelu(double x) {
  return 1 / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu(double x) { return x * sigmoid_of_gelu(x); }
double gelu_derivative(double x) {
  const double s = sigmoid_of_gelu(x);
  return s + x * s * (1 - s) * 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

bool is_tf32(const Context& ctx, DType dtype) {
  return dtype == DType::f32 && ctx.wish("linear").implementation == "cuda_tf32";
}

// What the implementation under test makes of factors: the upper 19 bits of an f32 are a tf32.
Doubles as_factors(const Context& ctx, DType dtype, Doubles values) {
  if (!is_tf32(ctx, dtype)) return values;
  for (double& value : values) {
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(value)) & 0xffffe000u);
  }
  return values;
}

// a·b + start in f32, term by term: what as_good_as_plain() measures against. a is [rows, inner]
// and b [inner, columns], both given as functions of two indices; start as one of the column.
template <class A, class B, class Start>
Doubles plain_product(int64_t rows, int64_t inner, int64_t columns, A a, B b, Start start,
                      DType dtype) {
  Doubles result;
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < columns; ++n) {
      float sum = 0;
      for (int64_t k = 0; k < inner; ++k) {
        sum += static_cast<float>(a(m, k)) * static_cast<float>(b(k, n));
      }
      result.push_back(testing::rounded(sum + static_cast<float>(start(m, n)), dtype));
    }
  }
  return result;
}

struct Problem {
  int64_t rows, inner, columns;
  bool transposed;
  Tensor x, weight, bias;
  Doubles xs, weights, biases;  // weights in memory order

  double weight_at(const Doubles& values, int64_t k, int64_t n) const {
    return transposed ? values[n * inner + k] : values[k * columns + n];
  }
};

// A weight, or the gradient of one, of the case's layout.
Tensor weight_view(const Problem& p, const Tensor& stored) {
  return p.transposed ? stored.transpose(0, 1) : stored;
}

Problem make_problem(const CaseLine& c, testing::TensorSource& make) {
  Problem p{.rows = c.number("m"),
            .inner = c.number("k"),
            .columns = c.number("n"),
            .transposed = c.is_set("transposed")};
  const auto x =
      testing::allocate_strided(make.arena, c.dtype(), {p.rows, p.inner}, c.number("gap"));
  p.x = x.view;
  testing::fill_normal(p.x, make.random);
  const Shape stored = p.transposed ? Shape{p.columns, p.inner} : Shape{p.inner, p.columns};
  const Tensor weight = make.normal(c.dtype("weight"), stored);
  p.weight = weight_view(p, weight);
  p.weights = testing::to_doubles(weight);
  p.xs = testing::to_doubles(p.x);
  p.biases = Doubles(p.columns, 0.0);
  if (c.is_set("bias")) {
    p.bias = make.normal(DType::f32, {p.columns});
    p.biases = testing::to_doubles(p.bias);
  }
  return p;
}

// `terms`: how many normally distributed products were added, so sqrt(terms) is what may cancel.
// The error of a row of few elements is no average: plain's may be small by chance. The factors of
// tf32 have 13 bits less than f32, which as_good_as_plain() does not know.
void expect_good(const char* name, const Tensor& actual, const Doubles& plain,
                 const Doubles& reference, int64_t terms, bool tf32) {
  constexpr int64_t kFewElements = 4;
  if (actual.shape[1] < kFewElements) terms *= kFewElements;
  const double cancelling = std::sqrt(static_cast<double>(terms)) * (tf32 ? 0x1p13 : 1.0);
  EXPECT_TRUE(testing::as_good_as_plain(name, testing::to_doubles(actual), plain, reference,
                                        actual.shape[1], actual.dtype, cancelling));
}

void check_forward(Context& ctx, const CaseLine& c, const Problem& p, const Tensor& y,
                   const Tensor& pre_activation) {
  linear_forward(ctx, {.x = p.x,
                       .weight = p.weight,
                       .bias = p.bias,
                       .y = y,
                       .gelu = c.number("gelu") != 0,
                       .pre_activation = pre_activation});
  Doubles reference = linear_forward_reference(p.xs, p.weights, p.biases, p.inner, p.transposed);
  const bool tf32 = is_tf32(ctx, c.dtype());
  const Doubles xs = as_factors(ctx, c.dtype(), p.xs);
  const Doubles weights = as_factors(ctx, c.dtype(), p.weights);
  Doubles plain = plain_product(
      p.rows, p.inner, p.columns, [&](int64_t m, int64_t k) { return xs[m * p.inner + k]; },
      [&](int64_t k, int64_t n) { return p.weight_at(weights, k, n); },
      [&](int64_t, int64_t n) { return p.biases[n]; },
      c.number("gelu") == 1 ? DType::f32 : y.dtype);
  if (c.number("gelu") == 1) {
    for (double& value : reference) value = gelu(value);
    for (double& value : plain) value = testing::rounded(gelu(value), y.dtype);
  }
  if (c.number("gelu") != 2) return expect_good("y", y, plain, reference, p.inner, tf32);
  expect_good("pre_activation", pre_activation, plain, reference, p.inner, tf32);
  Doubles activated = testing::to_doubles(pre_activation);
  for (double& value : activated) value = gelu(value);
  if (y.device == DeviceKind::cpu || (y.dtype == DType::f32 && !tf32)) {
    EXPECT_TRUE(testing::is_close("y", testing::to_doubles(y), activated,
                                  0.5 * epsilon_of(y.dtype) + 1.5e-5, 1e-36));
    return;
  }
  // y comes from the sum before it was rounded to pre_activation, and by another formula for tanh.
  for (double& value : reference) value = gelu(value);
  for (double& value : plain) value = testing::rounded(gelu(value), y.dtype);
  expect_good("y", y, plain, reference, p.inner, tf32);
}

void check_backward(Context& ctx, const CaseLine& c, const Problem& p, const Tensor& dy,
                    testing::TensorSource& make) {
  const bool accumulate = c.is_set("accumulate");
  const Shape stored = p.transposed ? Shape{p.columns, p.inner} : Shape{p.inner, p.columns};
  const Tensor dweight = make.empty(DType::f32, stored);
  const Tensor dbias = c.is_set("bias") ? make.empty(DType::f32, {p.columns}) : Tensor{};
  const Tensor dx = c.is_set("dx") ? make.empty(c.dtype(), {p.rows, p.inner}) : Tensor{};
  const Tensor gelu_input =
      c.number("dx") == 2 ? make.normal(c.dtype(), {p.rows, p.inner}) : Tensor{};
  if (accumulate) {
    testing::fill_normal(dweight, make.random);
    if (dbias.has_data()) testing::fill_normal(dbias, make.random);
  }
  const Tensor dweight_view = weight_view(p, dweight);
  const Doubles dweight0 =
      accumulate ? testing::to_doubles(dweight_view) : Doubles(dweight.numel(), 0.0);
  const Doubles dbias0 =
      accumulate && dbias.has_data() ? testing::to_doubles(dbias) : Doubles(p.columns, 0.0);
  const Doubles dys = testing::to_doubles(dy);
  linear_backward(ctx, {.x = p.x,
                        .weight = p.weight,
                        .dy = dy,
                        .gelu_input = gelu_input,
                        .dx = dx,
                        .dweight = dweight_view,
                        .dbias = dbias,
                        .accumulate = accumulate});
  LinearGradients reference =
      linear_backward_reference(p.xs, p.weights, dys, p.inner, p.transposed);
  const bool tf32 = is_tf32(ctx, c.dtype());
  const Doubles xs = as_factors(ctx, c.dtype(), p.xs);
  const Doubles weights = as_factors(ctx, c.dtype(), p.weights);
  const Doubles gradients = as_factors(ctx, c.dtype(), dys);
  const auto x_at = [&](int64_t m, int64_t k) { return xs[m * p.inner + k]; };
  const auto dy_at = [&](int64_t m, int64_t n) { return gradients[m * p.columns + n]; };
  Doubles exact_dweight(dweight.numel());  // row-major [K, N]
  for (int64_t k = 0; k < p.inner; ++k) {
    for (int64_t n = 0; n < p.columns; ++n) {
      const int64_t at = k * p.columns + n;
      exact_dweight[at] = dweight0[at] + reference.dweight[p.transposed ? n * p.inner + k : at];
    }
  }
  expect_good(
      "dweight", dweight_view,
      plain_product(
          p.inner, p.rows, p.columns, [&](int64_t k, int64_t m) { return x_at(m, k); }, dy_at,
          [&](int64_t k, int64_t n) { return dweight0[k * p.columns + n]; }, DType::f32),
      exact_dweight, p.rows, tf32);
  if (dx.has_data()) {
    Doubles plain = plain_product(
        p.rows, p.columns, p.inner, dy_at,
        [&](int64_t n, int64_t k) { return p.weight_at(weights, k, n); },
        [](int64_t, int64_t) { return 0.0; }, c.dtype());
    if (gelu_input.has_data()) {
      const Doubles inputs = testing::to_doubles(gelu_input);
      for (size_t i = 0; i < inputs.size(); ++i) {
        reference.dx[i] *= gelu_derivative(inputs[i]);
        plain[i] = testing::rounded(plain[i] * gelu_derivative(inputs[i]), c.dtype());
      }
    }
    expect_good("dx", dx, plain, reference.dx, p.columns, tf32);
  }
  if (dbias.has_data()) {
    for (int64_t n = 0; n < p.columns; ++n) reference.dbias[n] += dbias0[n];
    expect_good("dbias", dbias.view({1, p.columns}),
                plain_product(
                    1, p.rows, p.columns, [](int64_t, int64_t) { return 1.0; }, dy_at,
                    [&](int64_t, int64_t n) { return dbias0[n]; }, DType::f32),
                reference.dbias, p.rows, tf32);
  }
}

void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Problem p = make_problem(c, make);
  const auto strided = [&](DType dtype) {
    return testing::allocate_strided(ctx.arena(), dtype, {p.rows, p.columns}, c.number("gap"));
  };
  const testing::StridedTensor y = strided(c.dtype("out")), dy = strided(c.dtype());
  const Tensor pre_activation =
      c.number("gelu") == 2 ? make.empty(c.dtype("out"), {p.rows, p.columns}) : Tensor{};
  testing::fill_normal(dy.view, make.random);
  {
    const testing::InputsUnchanged inputs({p.x, dy.storage});
    check_forward(ctx, c, p, y.view, pre_activation);
    if (c.dtype("weight") == c.dtype()) check_backward(ctx, c, p, dy.view, make);
  }
  EXPECT_TRUE(testing::to_doubles(p.weight).size() == p.weights.size());
  if (c.number("gap") == 0) return;
  const Tensor gaps = y.storage.slice(1, p.columns, p.columns + c.number("gap"));
  for (const double value : testing::to_doubles(gaps)) EXPECT_TRUE(std::isnan(value));
}

TEST(Linear, ConformsToReference) {
  testing::run_conformance("linear", linear_impls(), testing::random_cases(300, draw_case),
                           run_case);
}

// A vocabulary's columns, which the backward pass takes in pieces.
TEST(Linear, ManyColumnsConform) {
  testing::run_conformance(
      "linear", linear_impls(),
      {"m=3 k=5 n=16500 dtype=f32 weight=f32 out=f32 transposed=1 gap=0 bias=1 gelu=0 "
       "dx=1 accumulate=0 seed=1",
       "m=3 k=5 n=20011 dtype=bf16 weight=bf16 out=bf16 transposed=1 gap=3 bias=0 gelu=0 "
       "dx=1 accumulate=1 seed=2",
       "m=2 k=9 n=16384 dtype=bf16 weight=bf16 out=f32 transposed=0 gap=0 bias=0 gelu=0 "
       "dx=0 accumulate=1 seed=3",
       "m=40 k=64 n=1027 dtype=bf16 weight=bf16 out=bf16 transposed=1 gap=5 bias=1 gelu=2 "
       "dx=1 accumulate=1 seed=4",
       "m=40 k=64 n=1027 dtype=f16 weight=f16 out=f32 transposed=0 gap=5 bias=1 gelu=1 "
       "dx=1 accumulate=0 seed=5"},
      run_case);
}

// Inference's products: few rows of many columns, more than one piece of them for each thread; and
// more rows with a weight that is widened piece by piece.
TEST(Linear, WideWeightsConform) {
  std::vector<std::string> lines;
  for (const char* types : {"dtype=f32 weight=f32 out=f32", "dtype=f32 weight=f16 out=f32",
                            "dtype=f32 weight=bf16 out=f32", "dtype=bf16 weight=bf16 out=bf16",
                            "dtype=bf16 weight=bf16 out=f32", "dtype=f16 weight=f16 out=f16"}) {
    for (const char* sizes : {"m=1 k=61 n=5001", "m=8 k=40 n=2311", "m=16 k=300 n=1100",
                              "m=17 k=2100 n=520", "m=5 k=776 n=1168", "m=29 k=264 n=1032"}) {
      for (const int transposed : {0, 1}) {
        lines.push_back(
            fmt::format("{} {} transposed={} gap=0 bias=1 gelu={} dx=0 accumulate=0 seed={}", sizes,
                        types, transposed, 1 + transposed, lines.size()));
      }
    }
  }
  testing::run_conformance("linear", linear_impls(), lines, [](Context& ctx, const CaseLine& c) {
    testing::TensorSource make{ctx.arena(), c.random()};
    const Problem p = make_problem(c, make);
    const Tensor y = make.empty(c.dtype("out"), {p.rows, p.columns});
    const Tensor kept = c.number("gelu") == 2 ? make.empty(y.dtype, y.shape) : Tensor{};
    check_forward(ctx, c, p, y, kept);
  });
}

// Up to 8 rows, 16 of f32 with a 16-bit weight, on a GPU 32 of aligned 16-bit operands: each row's
// bits are those that it has alone, on any number of threads.
TEST(Linear, FewRowsDoNotMeet) {
  std::vector<std::string> problems = {"m=8 k=203 n=777 dtype=f32 weight=f32 out=f32",
                                       "m=16 k=203 n=777 dtype=f32 weight=f16 out=f32",
                                       "m=16 k=203 n=777 dtype=f32 weight=bf16 out=f32",
                                       "m=8 k=203 n=777 dtype=bf16 weight=bf16 out=bf16",
                                       "m=8 k=203 n=777 dtype=f16 weight=f16 out=f16"};
  if (testing::options().device.kind == DeviceKind::cuda) {
    problems.push_back("m=32 k=200 n=776 dtype=bf16 weight=bf16 out=f32");
    problems.push_back("m=32 k=200 n=17000 dtype=f16 weight=f16 out=f16");
  }
  std::vector<std::string> lines;
  for (const std::string& problem : problems) {
    for (const int transposed : {0, 1}) {
      lines.push_back(fmt::format("{} transposed={} gap=0 bias=1 gelu=0 seed={}", problem,
                                  transposed, lines.size()));
    }
  }
  const int threads = thread_count();
  testing::run_conformance("linear", linear_impls(), lines, [](Context& ctx, const CaseLine& c) {
    testing::TensorSource make{ctx.arena(), c.random()};
    const Problem p = make_problem(c, make);
    const auto run = [&](int64_t begin, int64_t end) {
      const Tensor y = make.empty(c.dtype("out"), {end - begin, p.columns});
      linear_forward(ctx,
                     {.x = p.x.slice(0, begin, end), .weight = p.weight, .bias = p.bias, .y = y});
      return testing::to_doubles(y);
    };
    set_thread_count(1);
    Doubles alone;
    for (int64_t row = 0; row < p.rows; ++row) {
      const Doubles one = run(row, row + 1);
      alone.insert(alone.end(), one.begin(), one.end());
    }
    for (const int others : {1, 3, 4}) {
      set_thread_count(others);
      for (int64_t rows = 1; rows <= p.rows; ++rows) {
        const Doubles expected(alone.begin(), alone.begin() + rows * p.columns);
        EXPECT_TRUE(testing::is_equal("y", run(0, rows), expected))
            << rows << " rows on " << others << " threads";
      }
    }
  });
  set_thread_count(threads);
}

// Small integers: every sum is exact, so is the result.
void run_exact_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.empty(c.dtype(), {37, 51}), weight = make.empty(c.dtype(), {51, 67});
  const Tensor y = make.empty(DType::f32, {37, 67});
  testing::fill_integers(x, make.random, 3);
  testing::fill_integers(weight, make.random, 3);
  linear_forward(ctx, {.x = x, .weight = weight, .y = y});
  EXPECT_TRUE(testing::is_equal(
      "y", testing::to_doubles(y),
      linear_forward_reference(testing::to_doubles(x), testing::to_doubles(weight), {}, 51)));
}

TEST(Linear, IntegersAreExact) {
  testing::run_conformance("linear", linear_impls(),
                           {"dtype=f32 seed=1", "dtype=bf16 seed=2", "dtype=f16 seed=3"},
                           run_exact_case);
}

TEST(Linear, ReferenceGradientsAreDerivatives) {
  const int64_t inner = 3;
  Random random(PhiloxKey{{1, 7}});
  const auto normal = [&](size_t n) {
    Doubles values(n);
    for (double& value : values) value = random.normal();
    return values;
  };
  const Doubles x = normal(2 * 3), weight = normal(3 * 4), bias = normal(4), dy = normal(2 * 4);
  for (const bool transposed : {false, true}) {
    const auto loss = [&](const Doubles& xs, const Doubles& ws, const Doubles& bs) {
      const Doubles y = linear_forward_reference(xs, ws, bs, inner, transposed);
      return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
    };
    const LinearGradients gradients = linear_backward_reference(x, weight, dy, inner, transposed);
    const auto expect_derivative = [](const char* name, const Doubles& gradient, auto f,
                                      const Doubles& at) {
      EXPECT_TRUE(
          testing::is_close(name, gradient, testing::numerical_gradient(f, at), 1e-7, 1e-8));
    };
    expect_derivative(
        "dx", gradients.dx, [&](auto& v) { return loss(v, weight, bias); }, x);
    expect_derivative(
        "dweight", gradients.dweight, [&](auto& v) { return loss(x, v, bias); }, weight);
    expect_derivative(
        "dbias", gradients.dbias, [&](auto& v) { return loss(x, weight, v); }, bias);
  }
}

TEST(Linear, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(64);
  const auto tensor = [&](Shape shape) { return Tensor::of(memory.data(), shape); };
  const LinearForward good = {.x = tensor({2, 8}), .weight = tensor({8, 4}), .y = tensor({2, 4})};
  const auto message_of = [&](const LinearForward& args) {
    return testing::error_of([&] { linear_forward(ctx, args); });
  };
  LinearForward bad = good;
  bad.weight = tensor({7, 4});
  EXPECT_EQ(message_of(bad), "linear weight has shape [7, 4], expected [8, 4]");
  bad = good;
  bad.weight.strides = {8, 2};
  EXPECT_EQ(message_of(bad),
            "linear weight of shape [8, 4] has strides [8, 2], one of its dimensions must be "
            "contiguous");
  bad = good;
  bad.weight = Tensor::contiguous(memory.data(), DType::i32, {8, 4});
  EXPECT_EQ(message_of(bad), "linear weight is i32, allowed with x in f32 are f32, f16 and bf16");
  bad = good;
  bad.x = Tensor::contiguous(memory.data(), DType::bf16, {2, 8});
  EXPECT_EQ(message_of(bad), "linear weight is f32, allowed with x in bf16 is the same type");
  bad = good;
  bad.y = Tensor::contiguous(memory.data(), DType::f16, {2, 4});
  EXPECT_EQ(message_of(bad), "linear y is f16, allowed with x in f32 is f32");
  bad = good;
  bad.pre_activation = tensor({2, 4});
  EXPECT_EQ(message_of(bad), "linear pre_activation is given without gelu");
}

}  // namespace
}  // namespace strobe
