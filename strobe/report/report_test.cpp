#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/process.h"
#include "strobe/report/comparison_plot.h"
#include "strobe/report/comparison_table.h"
#include "strobe/report/jsonl_reader.h"
#include "strobe/report/table.h"
#include "strobe/report/training_run.h"
#include "strobe/report/units.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using testing::error_of;

// A folder of its own for each test, removed at its end.
class Report : public ::testing::Test {
 protected:
  Report() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / (std::string("strobe_report_") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Report() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }

 private:
  fs::path folder_;
};

TEST(TableText, AlignsByWhatIsSeen) {
  Table table({"", "β", "long head"});
  table.add({"α×", "1.00×", "2"});
  table.add_rule();
  table.add({"last", "", "3"});
  EXPECT_EQ(table.text(),
            "          β  long head\n"
            "────  ─────  ─────────\n"
            "α×    1.00×          2\n"
            "────  ─────  ─────────\n"
            "last                 3\n");
  EXPECT_EQ(error_of([&] { table.add({"too", "few"}); }), "a table row of 2 cells, expected 3");
}

TEST(Units, ThreeDigitsAndUnits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1250000), "1.25 MB");
  EXPECT_EQ(bytes_text(999.6e6), "1.00 GB");
  EXPECT_EQ(bytes_text(31e15), "31000 TB");
  EXPECT_EQ(milliseconds_text(0.849), "0.85 ms");
  EXPECT_EQ(milliseconds_text(411.7), "412 ms");
  EXPECT_EQ(milliseconds_text(13210), "13.2 s");
  EXPECT_EQ(percent_text(-0.0525), "-5.2%");
  EXPECT_EQ(small_text(0), "0");
  EXPECT_EQ(small_text(1.24e-7), "1.2e-07");
}

TEST_F(Report, ReadsRowsAndSkipsEmptyLines) {
  const JsonRows rows =
      read_jsonl(write("a.jsonl", "{\"kind\":\"x\",\"n\":1}\n\n{\"kind\":\"y\"}"));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["n"], 1);
  EXPECT_EQ(rows[1]["kind"], "y");
}

TEST_F(Report, BadLinesNameFileAndLine) {
  const auto message = [&](const std::string& text) {
    const std::string file = write("bad.jsonl", text);
    const std::string error = error_of([&] { read_jsonl(file); });
    EXPECT_EQ(error.rfind(file, 0), 0u) << error;
    return error.substr(std::min(file.size(), error.size()));
  };
  EXPECT_EQ(message("{\"kind\":\"x\"}\n{\"kind\":"), ":2 is not JSON: {\"kind\":");
  EXPECT_EQ(message("[1]\n"), ":1 is not an object with a text \"kind\": [1]");
  EXPECT_EQ(message("{\"kind\":1}\n"), ":1 is not an object with a text \"kind\": {\"kind\":1}");
  EXPECT_EQ(error_of([&] { read_jsonl(path("absent")); }),
            "cannot read " + path("absent") + ": No such file or directory");
}

Json step_row(const std::string& attention, int step, double loss, double ms, double attention_ms) {
  return {{"kind", "step"}, {"attention", attention},       {"step", step}, {"loss", loss},
          {"step_ms", ms},  {"attention_ms", attention_ms}, {"tokens", 100}};
}

Json summary_row(const std::string& attention, double attention_bytes) {
  const Json bytes = {{"weights", 1e6}, {"attention", attention_bytes}};
  return {{"kind", "summary"},
          {"attention", attention},
          {"peak_total_bytes", 1e6 + attention_bytes},
          {"peak_rss_bytes", 5e6},
          {"peak_bytes", bytes},
          {"at_peak_bytes", bytes}};
}

// Standard takes 200 ms a step, flash 100, each after a slow first step.
JsonRows two_runs() {
  JsonRows rows = {{{"kind", "provenance"}, {"title", "a \"quoted\" title_1 100%"}}};
  for (const char* attention : {"standard", "flash"}) {
    rows.push_back({{"kind", "provenance"},
                    {"attention", attention},
                    {"attention_impl", std::string("cpu_") + attention}});
  }
  rows.push_back(step_row("standard", 1, 4, 1000, 600));
  rows.push_back(step_row("standard", 2, 3, 200, 120));
  rows.push_back(step_row("standard", 3, 2, 200, 80));
  rows.push_back(summary_row("standard", 3e6));
  rows.push_back(step_row("flash", 1, 4, 900, 500));
  rows.push_back(step_row("flash", 2, 3.003, 100, 10));
  rows.push_back(step_row("flash", 3, 1.999, 100, 30));
  rows.push_back(summary_row("flash", 1e6));
  return rows;
}

TEST(TrainingRuns, SummaryLeavesOutTheWarmup) {
  const auto runs = training_runs(two_runs());
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].attention, "standard");
  EXPECT_EQ(runs[1].implementation, "cpu_flash");
  const RunSummary s = summarize(runs[0]);
  EXPECT_EQ(s.steps, 3);
  EXPECT_EQ(s.step_ms_mean, 200);
  EXPECT_EQ(s.steps_per_s, 5);
  EXPECT_EQ(s.tokens_per_s, 500);
  EXPECT_EQ(s.attention_ms_mean, 100);
  EXPECT_EQ(s.attention_share, 0.5);
  EXPECT_EQ(s.loss_mean, 3);
  EXPECT_EQ(s.loss_final, 2);
  EXPECT_EQ(error_of([] { summarize(TrainingRun{.attention = "flash"}); }),
            "flash finished no step");
}

TEST(TrainingRuns, TheOnlyStepIsTimed) {
  const auto runs = training_runs({step_row("flash", 1, 4, 100, 10)});
  EXPECT_EQ(summarize(runs[0]).step_ms_median, 100);
}

TEST(TrainingRuns, SaysWhyARunEndedEarly) {
  JsonRows rows = two_runs();
  rows.push_back(step_row("flash", 4, std::nan(""), 100, 10));
  rows.back()["loss"] = nullptr;
  rows.push_back(summary_row("flash", 1e6));
  rows.back()["ending"] = "diverged";
  rows.back()["reason"] = "the loss is nan at step 4";
  const auto runs = training_runs(rows);
  EXPECT_EQ(runs[1].error, "the loss is nan at step 4");
  EXPECT_EQ(runs[1].losses.size(), 3u);
}

TEST(TrainingRuns, Gains) {
  const auto runs = training_runs(two_runs());
  const Gains g = compare_runs(runs[0], runs[1]);
  EXPECT_EQ(g.speedup, 2);
  EXPECT_EQ(g.attention_speedup, 5);
  EXPECT_EQ(g.step_time_saved, 0.5);
  EXPECT_EQ(g.memory_saved, 0.5);
  EXPECT_DOUBLE_EQ(g.attention_memory_saved, 2.0 / 3);
  EXPECT_NEAR(g.loss_difference, 0.003, 1e-12);
  EXPECT_NEAR(g.loss_difference_relative, 0.001, 1e-12);
  EXPECT_EQ(g.first_loss_difference_relative, 0);
}

TEST(TrainingRuns, NanIsNoSmallDifference) {
  auto runs = training_runs(two_runs());
  runs[1].losses[1] = std::nan("");
  EXPECT_TRUE(std::isnan(compare_runs(runs[0], runs[1]).loss_difference));
}

TEST(TrainingRuns, MissingFieldsAreNamed) {
  EXPECT_EQ(error_of([] {
              training_runs({{{"kind", "step"}, {"attention", "flash"}}});
            }),
            "a row of kind \"step\" has no number \"step\"");
  EXPECT_EQ(error_of([] {
              training_runs({{{"kind", "step"}}});
            }),
            "a row of kind \"step\" does not say which attention it is of");
}

TEST(ComparisonTable, HoldsTheNumbers) {
  const std::string text = comparison_table(training_runs(two_runs()));
  for (const char* expected :
       {"standard", "cpu_flash", "200 ms", "2.00×", "50.0%", "1.0e-03", "4.00 MB"}) {
    EXPECT_NE(text.find(expected), std::string::npos) << expected << " is not in\n" << text;
  }
  EXPECT_EQ(comparison_table({}), "no run finished a step\n");
}

TEST(ComparisonTable, ARunThatFailedKeepsItsSteps) {
  JsonRows rows = two_runs();
  rows.back() = {{"kind", "error"}, {"attention", "flash"}, {"message", "the loss is NaN"}};
  const auto runs = training_runs(rows);
  EXPECT_EQ(runs[1].error, "the loss is NaN");
  EXPECT_NE(comparison_table(runs).find("100 ms"), std::string::npos);
}

TEST_F(Report, DrawsPngAndSvg) {
  if (!run_process({"gnuplot", "--version"})) GTEST_SKIP() << "gnuplot is not installed";
  JsonlWriter writer(path("results.jsonl"));
  for (const Json& row : two_runs()) writer.write(row);
  ASSERT_EQ(draw_comparison(path("results.jsonl"), path("")), "");
  EXPECT_GT(fs::file_size(path("compare.png")), 20'000u);
  std::stringstream svg;
  svg << std::ifstream(path("compare.svg")).rdbuf();
  for (const char* expected :
       {"a \"quoted\" title_1 100%", "200 ms", "100 ms", "2.00× faster", "4.00 MB"}) {
    EXPECT_NE(svg.str().find(expected), std::string::npos) << expected << " is not in the picture";
  }
}

TEST_F(Report, DrawsOneRunAlone) {
  if (!run_process({"gnuplot", "--version"})) GTEST_SKIP() << "gnuplot is not installed";
  JsonlWriter writer(path("results.jsonl"));
  writer.write(step_row("flash", 1, 4, 100, 10));  // no summary: the run was killed
  ASSERT_EQ(draw_comparison(path("results.jsonl"), path("")), "");
  EXPECT_TRUE(fs::exists(path("compare.svg")));
}

TEST_F(Report, SaysWhyThereIsNoPicture) {
  JsonlWriter writer(path("results.jsonl"));
  writer.write({{"kind", "provenance"}});
  EXPECT_EQ(draw_comparison(path("results.jsonl"), path("")),
            "no pictures: no run finished a step");
}

}  // namespace
}  // namespace strobe
