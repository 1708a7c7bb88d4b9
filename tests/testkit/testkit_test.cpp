#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "strobe/core/check.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

// The test kit's own test: what must fail, fails.
namespace strobe::testing {
namespace {

using Values = std::vector<double>;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(IsEqual, PassesEqualValuesOnly) {
  EXPECT_TRUE(is_equal("x", {1, -0.0, -kInf}, {1, 0, -kInf}));
  EXPECT_FALSE(is_equal("x", {1, 2}, {1, 2.0000001}));
  EXPECT_FALSE(is_equal("x", {1}, {1, 2}));
  EXPECT_FALSE(is_equal("x", {kInf}, {-kInf}));
}

TEST(IsEqual, NaNNeverPasses) {
  EXPECT_FALSE(is_equal("x", {kNaN}, {1}));
  EXPECT_FALSE(is_equal("x", {1}, {kNaN}));
  EXPECT_FALSE(is_equal("x", {kNaN}, {kNaN}));
}

TEST(IsClose, AppliesBothTolerances) {
  EXPECT_TRUE(is_close("x", {100.9}, {100}, 0.01, 0));
  EXPECT_FALSE(is_close("x", {101.1}, {100}, 0.01, 0));
  EXPECT_TRUE(is_close("x", {0.09}, {0}, 0.01, 0.1));
  EXPECT_FALSE(is_close("x", {0.11}, {0}, 0.01, 0.1));
}

TEST(IsClose, NothingIsCloseToNaNOrInfinity) {
  EXPECT_FALSE(is_close("x", {kNaN}, {1}, 1, 1));
  EXPECT_FALSE(is_close("x", {1}, {kNaN}, 1, 1));
  EXPECT_FALSE(is_close("x", {1}, {kInf}, 1, 1));
  EXPECT_FALSE(is_close("x", {kInf}, {1}, 1, 1));
  EXPECT_TRUE(is_close("x", {kInf}, {kInf}, 0, 0));
}

TEST(IsClose, SaysWhichElementAndWhatWasExpected) {
  const auto result = is_close("dq", {1, 2, 5}, {1, 2, 3}, 0, 0.5);
  EXPECT_STREQ(result.message(), "dq[2] is 5, expected 3 ± 0.5");
}

TEST(RelativeError, IsOfTheNormsAndInfiniteForNaN) {
  EXPECT_DOUBLE_EQ(relative_error({3, 4.5}, {3, 4}), 0.1);
  EXPECT_EQ(relative_error({1, kNaN}, {1, 1}), HUGE_VAL);
  EXPECT_EQ(relative_error({0, 0}, {0, 0}), 0);
}

// Four rows of eight; the plain computation is off by 0.01 everywhere.
class AsGoodAsPlain : public ::testing::Test {
 protected:
  static constexpr int64_t kRow = 8;
  Values reference_ = Values(4 * kRow, 1.0);
  Values plain_ = Values(4 * kRow, 1.01);
  ::testing::AssertionResult compare(const Values& actual) const {
    return as_good_as_plain("out", actual, plain_, reference_, kRow, DType::f32);
  }
};

TEST_F(AsGoodAsPlain, PassesUpToTwiceThePlainError) {
  EXPECT_TRUE(compare(reference_));
  EXPECT_TRUE(compare(plain_));
  EXPECT_TRUE(compare(Values(reference_.size(), 0.981)));
  EXPECT_FALSE(compare(Values(reference_.size(), 1.021)));
}

TEST_F(AsGoodAsPlain, OneBadElementFails) {
  Values actual = reference_;
  actual[17] = 1.03;
  EXPECT_FALSE(compare(actual));
}

TEST_F(AsGoodAsPlain, OneBadRowFails) {
  plain_[0] = 1.5;  // one large plain error must not excuse the other rows
  Values actual = reference_;
  for (int64_t i = 0; i < kRow; ++i) actual[2 * kRow + i] = 1.3;
  const auto result = compare(actual);
  EXPECT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("row 2"), std::string::npos) << result.message();
}

TEST_F(AsGoodAsPlain, NaNNeverPasses) {
  Values actual = reference_;
  actual[5] = kNaN;
  EXPECT_FALSE(compare(actual));
  actual[5] = kInf;
  EXPECT_FALSE(compare(actual));
  actual[5] = 1;
  reference_[5] = kNaN;
  EXPECT_FALSE(compare(actual));
}

TEST_F(AsGoodAsPlain, APlainComputationThatIsNotFiniteExcusesNothing) {
  for (const double bad : {kNaN, kInf}) {
    plain_[5] = bad;
    EXPECT_FALSE(compare(reference_));
  }
  plain_.pop_back();
  EXPECT_FALSE(compare(reference_));
}

TEST_F(AsGoodAsPlain, InfinitiesMustMatch) {
  for (Values* values : {&reference_, &plain_}) (*values)[3] = -kInf;
  EXPECT_TRUE(compare(reference_));
  Values actual = reference_;
  actual[3] = kInf;
  EXPECT_FALSE(compare(actual));
  actual[3] = -1e30;
  EXPECT_FALSE(compare(actual));
}

TEST_F(AsGoodAsPlain, SizesMustMatch) {
  EXPECT_FALSE(compare(Values(reference_.begin(), reference_.end() - 1)));
  EXPECT_FALSE(compare({}));
}

TEST(Cases, AreReadByKey) {
  const std::string line = "b=2 tq=113 q=7 mask=causal";
  EXPECT_EQ(value_in_case(line, "tq"), "113");
  EXPECT_EQ(value_in_case(line, "q"), "7");
  EXPECT_EQ(value_in_case(line, "mask"), "causal");
  EXPECT_THROW(value_in_case(line, "seed"), Error);
  EXPECT_THROW(value_in_case(line, "t"), Error);
}

TEST(Fill, RoundsToTheTypeAndFollowsStrides) {
  Arena arena({.poison = true});
  const StridedTensor t = allocate_strided(arena, DType::bf16, {2, 3}, 4);
  EXPECT_EQ(t.view.strides, (Shape{7, 1}));
  fill(t.view, {1, 2, 3, 4, 5, 1.00001});
  EXPECT_EQ(to_doubles(t.view), (Values{1, 2, 3, 4, 5, 1}));
  EXPECT_EQ(to_doubles(t.view.transpose(0, 1)), (Values{1, 4, 2, 5, 3, 1}));
  EXPECT_TRUE(std::isnan(to_doubles(t.storage)[3])) << "the gap after a row is poisoned";
  EXPECT_THROW(fill(t.view, Values{1}), Error);
}

TEST(Fill, IntegersCoverTheirRange) {
  Arena arena({.poison = true});
  const Tensor t = arena.allocate(MemoryUse::workspace, DType::f32, {1000});
  Random random(PhiloxKey{{1, 1}});
  fill_integers(t, random, 2);
  std::vector<int> counts(5);
  for (const double value : to_doubles(t)) ++counts.at(static_cast<size_t>(value + 2));
  for (const int count : counts) EXPECT_GT(count, 100);
}

TEST(Snapshot, SeesAChangedByte) {
  Arena arena({.poison = true});
  const Tensor t = arena.allocate(MemoryUse::workspace, DType::i32, {10});
  const auto before = snapshot(t);
  EXPECT_EQ(snapshot(t), before);
  t.as<int32_t>()[9] ^= 1;
  EXPECT_NE(snapshot(t), before);
  poison(t);
  EXPECT_EQ(snapshot(t), before);
}

}  // namespace
}  // namespace strobe::testing
