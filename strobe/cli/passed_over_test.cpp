#include "strobe/cli/passed_over.h"

#include <gtest/gtest.h>

namespace strobe {
namespace {

TEST(PassedOver, IsSaidWhereAGpuIsThereThatAutoDoesNotTake) {
  const char* reason = "this build has code for compute capability 80 90";
  const std::string text = passed_over_text("auto", true, reason);
  EXPECT_TRUE(text.ends_with(reason)) << text;
  EXPECT_EQ(passed_over_text("auto", true, ""), "") << "it is taken";
  EXPECT_EQ(passed_over_text("auto", false, "there is no GPU"), "");
  EXPECT_EQ(passed_over_text("cpu", true, reason), "") << "it is not asked for";
}

}  // namespace
}  // namespace strobe
