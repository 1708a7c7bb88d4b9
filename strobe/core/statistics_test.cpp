#include "strobe/core/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "strobe/core/check.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

TEST(StatisticsTest, KnownValues) {
  const std::vector<double> values = {40, 10, 30, 20, 50};
  EXPECT_EQ(mean(values), 30);
  EXPECT_EQ(median(values), 30);
  EXPECT_EQ(percentile(values, 0), 10);
  EXPECT_EQ(percentile(values, 100), 50);
  EXPECT_DOUBLE_EQ(percentile(values, 10), 14);
  EXPECT_DOUBLE_EQ(percentile(values, 90), 46);
  EXPECT_EQ(median(std::vector<double>{1, 2}), 1.5);
  EXPECT_EQ(median(std::vector<double>{7}), 7);
  EXPECT_DOUBLE_EQ(standard_deviation(values), std::sqrt(250));
  EXPECT_EQ(standard_deviation(std::vector<double>{7}), 0);
}

TEST(StatisticsTest, RefusesNothingAndBadPercentages) {
  const std::vector<double> none, one = {1};
  EXPECT_EQ(error_of([&] { mean(none); }), "the mean of no values");
  EXPECT_EQ(error_of([&] { standard_deviation(none); }), "the mean of no values");
  EXPECT_EQ(error_of([&] { median(none); }), "a percentile of no values");
  EXPECT_EQ(error_of([&] { percentile(one, 101); }), "percentile 101, allowed is 0 to 100");
  EXPECT_NE(error_of([&] { percentile(one, std::nan("")); }), "no error");
}

}  // namespace
}  // namespace strobe
