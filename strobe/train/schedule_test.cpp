#include "strobe/train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace strobe {
namespace {

TEST(ScheduleTest, WarmUpRisesInEqualParts) {
  for (ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine}) {
    const Schedule schedule = {.kind = kind, .peak = 0.4, .warmup = 4, .steps = 20};
    for (int step = 1; step <= 4; ++step) EXPECT_DOUBLE_EQ(schedule.at(step), 0.1 * step);
    EXPECT_DOUBLE_EQ(schedule.at(5), 0.4) << "the first step after warm-up has the peak";
  }
}

TEST(ScheduleTest, ConstantStays) {
  const Schedule schedule = {.kind = ScheduleKind::constant, .peak = 3, .floor = 1, .steps = 10};
  for (int step = 1; step <= 20; ++step) EXPECT_EQ(schedule.at(step), 3);
}

TEST(ScheduleTest, LinearFallsInEqualParts) {
  const Schedule schedule = {
      .kind = ScheduleKind::linear, .peak = 3, .floor = 1, .warmup = 2, .steps = 10};
  for (int step = 3; step <= 10; ++step) {
    EXPECT_NEAR(schedule.at(step), 3 - 2.0 * (step - 3) / 8, 1e-15);
  }
  EXPECT_EQ(schedule.at(11), 1);
  EXPECT_EQ(schedule.at(1000), 1);
}

TEST(ScheduleTest, CosineFollowsTheCosine) {
  const Schedule schedule = {.kind = ScheduleKind::cosine, .peak = 3, .floor = 1, .steps = 8};
  EXPECT_EQ(schedule.at(1), 3);
  EXPECT_NEAR(schedule.at(5), 2, 1e-15);  // half way
  for (int step = 1; step <= 8; ++step) {
    EXPECT_NEAR(schedule.at(step), 2 + std::cos(std::numbers::pi * (step - 1) / 8), 1e-15);
  }
  EXPECT_NEAR(schedule.at(9), 1, 1e-15);
}

TEST(ScheduleTest, AWarmUpLongerThanTheRunNeverDivides) {
  const Schedule schedule = {.kind = ScheduleKind::cosine, .peak = 1, .warmup = 100, .steps = 10};
  EXPECT_DOUBLE_EQ(schedule.at(10), 0.1);
  EXPECT_TRUE(std::isfinite(schedule.at(101)));
}

}  // namespace
}  // namespace strobe
