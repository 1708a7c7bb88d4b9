#include "strobe/core/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace strobe {
namespace {

TEST(ShortNumberTest, ThreeDigitsAndAUnit) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(7.4), "7");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(999.6), "1.00k");
  EXPECT_EQ(short_number(12345), "12.3k");
  EXPECT_EQ(short_number(99960), "100k");
  EXPECT_EQ(short_number(124'439'808), "124M");
  EXPECT_EQ(short_number(3.2e9), "3.20G");
  EXPECT_EQ(short_number(std::nan("")), "–");
}

TEST(ShortDurationTest, TwoUnits) {
  EXPECT_EQ(short_duration(0.2), "0s");
  EXPECT_EQ(short_duration(59.6), "1m 00s");
  EXPECT_EQ(short_duration(83), "1m 23s");
  EXPECT_EQ(short_duration(2 * 3600 + 5 * 60 + 59), "2h 05m");
  EXPECT_EQ(short_duration(-1), "0s");
}

TEST(ProgressLineTest, ShowsAllAndFits) {
  const ProgressState state = {
      .step = 30, .steps = 120, .loss = 2.34567, .tokens_per_s = 12345, .seconds = 30};
  EXPECT_EQ(progress_line("train", state, 100),
            "train [#######.......................]   30/120  loss 2.3457  12.3k tokens/s  "
            "1m 30s left");
  for (int width = 0; width < 120; ++width) {
    EXPECT_LE(progress_line("train", state, width).size(), static_cast<size_t>(width));
  }
  EXPECT_EQ(progress_line("train", state, 60).find('['), std::string::npos);
}

TEST(ProgressLineTest, HasAnEmptyAndAFullBar) {
  const ProgressState resumed = {.step = 60, .steps = 80, .seconds = 10, .begun = 50};
  EXPECT_NE(progress_line("", resumed, 100).find("20s left"), std::string::npos);
  EXPECT_NE(progress_line("", {.step = 0, .steps = 9}, 100).find("[......"), std::string::npos);
  EXPECT_NE(progress_line("", {.step = 9, .steps = 9}, 100).find("######]"), std::string::npos);
}

std::string written(std::FILE* file) {
  std::string text(4096, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  return text;
}

TEST(ProgressTest, WritesPlainLinesToAFile) {
  std::FILE* file = std::tmpfile();
  {
    Progress progress("train", 100, file);
    for (int step = 1; step <= 50; ++step) progress.update(step, 1.5, 1000);
    progress.note("a note");
  }
  const std::string text = written(file);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_NE(text.find("  1/100"), std::string::npos);
  EXPECT_EQ(text.find("  2/100"), std::string::npos) << "one line every ten seconds";
  EXPECT_NE(text.find("a note\n"), std::string::npos);
  EXPECT_NE(text.find(" 50/100"), std::string::npos) << "and the last";
  EXPECT_EQ(text.back(), '\n');
  std::fclose(file);
}

TEST(ProgressTest, WritesNothingWhenNothingHappened) {
  std::FILE* file = std::tmpfile();
  { const Progress progress("train", 100, file); }
  EXPECT_EQ(written(file), "");
  std::fclose(file);
}

}  // namespace
}  // namespace strobe
