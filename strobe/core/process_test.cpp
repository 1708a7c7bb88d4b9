#include "strobe/core/process.h"

#include <gtest/gtest.h>

#include <csignal>

#include "strobe/core/clock.h"

namespace strobe {
namespace {

TEST(ProcessTest, ExitCodeInputAndErrors) {
  const auto result = run_process(
      {"sh"}, {.input = "echo complaint >&2; exit 3", .capture_stderr = true, .signal = {}});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->error_text, "complaint\n");
  EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"})->exit_code, 128 + SIGKILL);
  EXPECT_EQ(run_process({"true"})->exit_code, 0);
}

TEST(ProcessTest, AMissingProgramIsNoError) {
  EXPECT_FALSE(run_process({"strobe-no-such-program"}).has_value());
}

TEST(ProcessTest, PassesASignalOn) {
  const Stopwatch watch;
  const auto signal = [&] { return watch.ms() > 50 ? SIGTERM : 0; };
  const auto result =
      run_process({"sleep", "60"}, {.input = {}, .capture_stderr = false, .signal = signal});
  EXPECT_EQ(result->exit_code, 128 + SIGTERM);
  EXPECT_LT(watch.seconds(), 30);
}

TEST(ProcessTest, ASecondSignalFollowsTheFirst) {
  const Stopwatch watch;
  const auto signal = [&] { return watch.ms() > 200 ? SIGKILL : watch.ms() > 100 ? SIGTERM : 0; };
  const auto result = run_process({"sh", "-c", "trap '' TERM; while :; do sleep 0.02; done"},
                                  {.input = {}, .capture_stderr = false, .signal = signal});
  EXPECT_EQ(result->exit_code, 128 + SIGKILL);
}

}  // namespace
}  // namespace strobe
