// A sweep's rows, its table and its picture.
#include <gtest/gtest.h>

#include <filesystem>

#include "strobe/report/sweep_plot.h"
#include "strobe/report/sweep_results.h"
#include "strobe/report/sweep_table.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

Json point(const std::string& attention, int64_t seq, double ms, double attention_bytes) {
  return {{"kind", "sweep"},
          {"task", "train"},
          {"parameter", "seq"},
          {"value", seq},
          {"attention", attention},
          {"ending", "finished"},
          {"step_ms_median", ms},
          {"attention_ms_mean", ms / 2},
          {"peak_total_bytes", 1e6 + attention_bytes},
          {"attention_bytes", attention_bytes}};
}

Json ended(const std::string& attention, int64_t seq, const std::string& ending,
           const std::string& reason) {
  return {{"kind", "sweep"},        {"task", "train"},  {"parameter", "seq"}, {"value", seq},
          {"attention", attention}, {"ending", ending}, {"reason", reason}};
}

// Standard's memory is a square, flash's a line; the last sizes do not fit or take too long.
JsonRows rows() {
  return {{{"kind", "provenance"}},
          point("standard", 1024, 400, 16e6),
          point("flash", 1024, 100, 2e6),
          point("standard", 512, 100, 4e6),
          point("flash", 512, 50, 1e6),
          ended("standard", 2048, "out_of_memory", "out of memory: attention need 64 MiB"),
          ended("flash", 2048, "too_slow", "not done in 1 s")};
}

TEST(SweepResults, PutsPointsInOrder) {
  const SweepResults sweep = sweep_results(rows());
  EXPECT_EQ(sweep.axis, "seq");
  EXPECT_EQ(sweep.values, (std::vector<int64_t>{512, 1024, 2048}));
  ASSERT_EQ(sweep.curves.size(), 2u);
  EXPECT_EQ(sweep.curves[0].attention, "standard");
  EXPECT_EQ(sweep.curves[0].points[0].value, 512);
  EXPECT_EQ(sweep.curves[0].points[0].of(sweep.quantities()[0]), 100.0);
  EXPECT_FALSE(sweep.curves[0].points[2].of(sweep.quantities()[0]).has_value());
  EXPECT_NEAR(*growth(sweep.curves[0], sweep.quantities()[3]), 2, 1e-12);
  EXPECT_NEAR(*growth(sweep.curves[1], sweep.quantities()[3]), 1, 1e-12);

  JsonRows one = {point("flash", 512, 1, 1)};
  EXPECT_FALSE(growth(sweep_results(one).curves[0], sweep.quantities()[0]).has_value());
  one[0].erase("value");
  EXPECT_EQ(testing::error_of([&] { sweep_results(one); }),
            "a row of kind \"sweep\" has no whole number \"value\"");
}

TEST(SweepTable, SaysWhyThereIsNoNumber) {
  const std::string table = sweep_table(sweep_results(rows()));
  for (const char* line : {"Time of a training step       standard     flash  ratio\n",
                           "seq 512                         100 ms   50.0 ms  2.00×\n",
                           "seq 2048                 out of memory  too slow      –\n",
                           "grows at the end like         seq^2.00  seq^1.00\n",
                           "standard, seq 2048: out of memory: attention need 64 MiB\n",
                           "flash, seq 2048: too slow: not done in 1 s\n"}) {
    EXPECT_NE(table.find(line), std::string::npos) << line << table;
  }
}

TEST(SweepPlot, DrawsWhatWasMeasured) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() + "/sweep";
  const std::string problem = draw_sweep(sweep_results(rows()), "A title", path);
  if (problem.find("not installed") != std::string::npos) GTEST_SKIP() << problem;
  ASSERT_EQ(problem, "");
  EXPECT_GT(std::filesystem::file_size(path + ".png"), 20'000u);
  const std::string svg = testing::content_of(path + ".svg");
  for (const char* text : {"out of memory", "too slow", "Memory of attention", "standard"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(draw_sweep(sweep_results({rows()[5]}), "A title", path),
            "no pictures: no point was measured");
}

}  // namespace
}  // namespace strobe
