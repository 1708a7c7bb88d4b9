#include "strobe/models/parameter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "strobe/core/parallel.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::to_doubles;

Parameter matrix(Shape shape, double deviation) {
  return {.hf_name = "matrix", .shape = shape, .init = {Init::Kind::normal, deviation}};
}

TEST(Parameter, NormalHasItsMomentsAndTails) {
  Context ctx(Device{}, {.poison = true});
  Parameter p = matrix({1000, 1001}, 0.02);
  allocate(ctx, p, DType::f32, true);
  initialize(ctx, p, random_key(7, 0, kSiteWeights));
  const std::vector<double> values = to_doubles(p.value);
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0, fourths = 0, neighbours = 0;
  int64_t beyond_two = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double z = values[i] / 0.02;
    sum += z;
    squares += z * z;
    fourths += z * z * z * z;
    if (i > 0) neighbours += z * values[i - 1] / 0.02;
    beyond_two += std::abs(z) > 2;
  }
  // Five standard errors of each estimate.
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourths / n, 3, 5 * std::sqrt(96 / n));
  EXPECT_NEAR(neighbours / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(beyond_two / n, 0.0455, 5 * std::sqrt(0.0455 / n));
}

TEST(Parameter, InitDependsOnTheKeyAlone) {
  Context ctx;
  const int threads = thread_count();
  std::vector<std::vector<double>> drawn;
  for (int count : {1, 3}) {
    set_thread_count(count);
    Parameter p = matrix({333, 77 * 3}, 1);
    allocate(ctx, p, DType::f32, true);
    initialize(ctx, p, random_key(7, 3, kSiteWeights));
    drawn.push_back(to_doubles(p.value));
  }
  set_thread_count(threads);
  EXPECT_TRUE(testing::is_equal("matrix", drawn[1], drawn[0]));
  Parameter other = matrix({333, 77 * 3}, 1);
  allocate(ctx, other, DType::f32, true);
  initialize(ctx, other, random_key(8, 3, kSiteWeights));
  EXPECT_FALSE(testing::is_equal("matrix", to_doubles(other.value), drawn[0]));
}

TEST(Parameter, SixteenBitMatricesKeepAnExactMaster) {
  Context ctx;
  Parameter p = matrix({5, 7}, 1), frozen = p, plain = p;
  const PhiloxKey key = random_key(1, 2, kSiteWeights);
  allocate(ctx, plain, DType::f32, false);
  allocate(ctx, frozen, DType::bf16, false);
  allocate(ctx, p, DType::bf16, true);
  for (Parameter* parameter : {&plain, &frozen, &p}) initialize(ctx, *parameter, key);
  EXPECT_EQ(p.value.dtype, DType::bf16);
  EXPECT_EQ(p.working().data, p.value.data);
  EXPECT_TRUE(testing::is_equal("master", to_doubles(p.master), to_doubles(plain.value)));
  std::vector<double> rounded = to_doubles(plain.value);
  for (double& value : rounded) value = to_f32(to_bf16(static_cast<float>(value)));
  EXPECT_TRUE(testing::is_equal("value", to_doubles(p.value), rounded));
  EXPECT_TRUE(testing::is_equal("frozen", to_doubles(frozen.value), rounded));
}

TEST(Parameter, TakesTheMemoryItNeeds) {
  const auto bytes = [](DType dtype, bool is_trainable, const Shape& shape) {
    Context ctx;
    Parameter p = {.hf_name = "p", .shape = shape, .init = {}};
    allocate(ctx, p, dtype, is_trainable);
    return ctx.arena().report().current_total_bytes;
  };
  EXPECT_EQ(bytes(DType::f32, true, {2, 3}), 6 * (4 + 4 + 8));
  EXPECT_EQ(bytes(DType::bf16, true, {2, 3}), 6 * (2 + 4 + 4 + 8));
  EXPECT_EQ(bytes(DType::bf16, true, {6}), 6 * (4 + 4 + 8));  // a vector stays f32
  EXPECT_EQ(bytes(DType::f32, false, {2, 3}), 6 * 4);
  EXPECT_EQ(bytes(DType::bf16, false, {2, 3}), 6 * 2);
}

TEST(Parameter, AdamwsWorkingCopyIsAbsentInF32) {
  Context ctx;
  Parameter p = matrix({2, 3}, 1), bias = {.hf_name = "bias", .shape = {3}, .init = {}};
  allocate(ctx, p, DType::f32, true);
  allocate(ctx, bias, DType::bf16, true);
  EXPECT_FALSE(p.working().has_data());
  EXPECT_FALSE(bias.working().has_data());
  EXPECT_TRUE(p.decays());
  EXPECT_FALSE(bias.decays());
}

}  // namespace
}  // namespace strobe
