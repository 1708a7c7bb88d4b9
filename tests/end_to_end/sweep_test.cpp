// `strobe compare --sweep` and `--task generate` as a user meets them.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

class SweepTest : public ::testing::Test {
 protected:
  // Of a model that takes milliseconds, with these options besides.
  ProgramResult compare(const std::vector<std::string>& options,
                        const ProgramSetting& setting = {}) {
    std::vector<std::string> all = {"compare", "--n-layer", "1",   "--n-embd", "32", "--n-head",
                                    "2",       "--data",    "lab", "--out",    out_};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all, setting);
  }

  std::string file(const std::string& name) const { return out_ + "/" + name; }
  std::string results() const { return file("results.jsonl"); }

  // "attention value ending" of each point, in the order of the rows.
  std::vector<std::string> points() const {
    std::vector<std::string> all;
    for (const Json& row : rows_of(results(), "sweep")) {
      all.push_back(row.at("attention").get<std::string>() + " " + row.at("value").dump() + " " +
                    row.at("ending").get<std::string>());
    }
    return all;
  }

  void expect_pictures() const {
    EXPECT_GT(fs::file_size(file("report.html")), 5'000u);
    if (!has_gnuplot()) return;
    EXPECT_GT(fs::file_size(file("compare.png")), 20'000u);
    EXPECT_GT(fs::file_size(file("compare.svg")), 10'000u);
  }

  static void expect_text(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "lacks: " << part;
  }

  TemporaryFolder folder_;
  std::string out_ = folder_.path() + "/swept";
};

using Strings = std::vector<std::string>;

TEST_F(SweepTest, MeasuresEveryPointInAProcessOfItsOwn) {
  const ProgramResult result = compare({"--sweep", "seq=16..64", "--n-positions", "32"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(points(), (Strings{"standard 16 finished", "flash 16 finished", "standard 32 finished",
                               "flash 32 finished", "standard 64 finished", "flash 64 finished"}));
  for (const Json& row : rows_of(results(), "sweep")) {
    EXPECT_EQ(row.at("parameter"), "seq");
    EXPECT_EQ(row.at("task"), "train");
    for (const char* field : {"step_ms_median", "attention_ms_mean", "tokens_per_s",
                              "peak_total_bytes", "attention_bytes", "peak_rss_bytes"}) {
      EXPECT_GT(row.at(field), 0) << field;
    }
    EXPECT_EQ(row.at("runs"), 4) << "five steps, the first is not timed";
  }
  const Json provenance = read_rows(results()).front();
  EXPECT_EQ(provenance.at("options").at("sweep"), "seq=16..64");
  EXPECT_EQ(provenance.at("subtitle").get<std::string>().rfind("training, B=1, f32", 0), 0u);
  for (const char* text : {"Time of a training step", "Memory of attention", "seq 64",
                           "grows at the end like", "results.jsonl", "report.html"}) {
    expect_text(result.out, text);
  }
  expect_pictures();
  EXPECT_FALSE(fs::exists(file("point.jsonl"))) << "nothing is left over";
}

TEST_F(SweepTest, MemoryOfStandardIsASquareOfFlashALine) {
  ASSERT_EQ(compare({"--sweep", "seq=512,1024", "--steps", "2"}).exit_code, 0);
  const std::vector<Json> rows = rows_of(results(), "sweep");
  const auto growth = [&](size_t small, size_t large) {
    return rows.at(large).at("attention_bytes").get<double>() /
           rows.at(small).at("attention_bytes").get<double>();
  };
  EXPECT_NEAR(growth(0, 2), 4, 0.4);
  EXPECT_LT(growth(1, 3), 2.2);
}

TEST_F(SweepTest, WhatDoesNotFitIsShown) {
  const ProgramResult result =
      compare({"--sweep", "seq=64,2048", "--memory-limit", "32", "--steps", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.error << result.out;
  EXPECT_EQ(points(), (Strings{"standard 64 finished", "flash 64 finished",
                               "standard 2048 out_of_memory", "flash 2048 finished"}));
  expect_text(rows_of(results(), "sweep").at(2).at("reason"), "out of memory: attention need");
  expect_text(result.out, "out of memory");
  expect_pictures();
}

TEST_F(SweepTest, APointThatTheSystemKillsIsOutOfMemory) {
  const auto kill_child = [](pid_t program) {
    const std::string children =
        "/proc/" + std::to_string(program) + "/task/" + std::to_string(program) + "/children";
    for (int i = 0; i < 3000; ++i) {
      if (pid_t child = 0; std::ifstream(children) >> child) {
        kill(child, SIGKILL);
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  };
  const ProgramResult result =
      compare({"--sweep", "batch=1", "--attention", "flash", "--steps", "1000000"},
              {.environment = {}, .while_it_runs = kill_child});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(points(), (Strings{"flash 1 out_of_memory"}));
  expect_text(result.out, "killed by the system");
}

TEST_F(SweepTest, WhatTakesTooLongIsStopped) {
  const ProgramResult result =
      run_strobe({"compare", "--preset", "gpt2", "--data", "lab", "--seq", "1024", "--attention",
                  "flash", "--sweep", "batch=1,2", "--budget", "0.1", "--out", out_});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(points(), (Strings{"flash 1 too_slow", "flash 2 too_slow"}));
  expect_text(result.out, "not done in 0.1 s");
  expect_text(result.out, "not begun, as batch 1 was too slow");
  expect_text(result.error, "strobe: warning: no pictures: no point was measured");
}

TEST_F(SweepTest, AFailureIsNamedAndTheRestKept) {
  const std::string text = folder_.file("short.txt", std::string(100, 'x'));
  const ProgramResult result =
      compare({"--sweep", "seq=16,512", "--data", text, "--attention", "flash"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(points(), (Strings{"flash 16 finished", "flash 512 failed"}));
  expect_text(result.error, "strobe: flash at seq 512 failed; what was measured is in ");
  expect_text(result.out, "less than one window of 512");
}

TEST_F(SweepTest, CtrlCKeepsWhatWasMeasured) {
  const auto interrupt_at_work = [&](pid_t program) {
    for (int i = 0; i < 6000 && rows_of(results(), "sweep").size() < 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    kill(program, SIGINT);
  };
  const ProgramResult result = compare({"--sweep", "batch=1..16384", "--seq", "64"},
                                       {.environment = {}, .while_it_runs = interrupt_at_work});
  EXPECT_EQ(result.exit_code, 128 + SIGINT) << result.error;
  EXPECT_GE(points().size(), 3u);
  EXPECT_LT(points().size(), 30u);
  expect_text(result.out, "grows at the end like");
  expect_pictures();
}

TEST_F(SweepTest, MistakesAreOneLineAndLoseNothing) {
  ASSERT_EQ(compare({"--sweep", "batch=1", "--attention", "flash"}).exit_code, 0);
  const auto expect = [&](const Strings& options, const std::string& text) {
    const ProgramResult result = compare(options);
    EXPECT_EQ(result.exit_code, 2);
    expect_text(result.error, text);
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_EQ(result.out, "");
  };
  expect({"--sweep", "seq"}, "--sweep is 'seq', allowed is AXIS=FROM..TO");
  expect({"--sweep", "heads=1"}, "--sweep changes 'heads', allowed are seq, batch, layers");
  expect({"--sweep", "seq=9..3"}, "--sweep has '9..3', allowed is FROM..TO with FROM up to TO");
  expect({"--budget", "0"}, "--budget is '0', allowed is a number of at least 0.1");
  expect({"--task", "sing"}, "--task is 'sing', allowed are train|generate");
  EXPECT_EQ(points(), (Strings{"flash 1 finished"}));
}

TEST_F(SweepTest, Generation) {
  const ProgramResult result =
      compare({"--task", "generate", "--new-tokens", "6", "--runs", "3", "--prompt", "Hello"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const std::vector<Json> rows = rows_of(results(), "generation");
  ASSERT_EQ(rows.size(), 2u);
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("runs"), 3);
    EXPECT_EQ(row.at("prompt_tokens"), 5);
    EXPECT_EQ(row.at("new_tokens"), 6);
    for (const char* field :
         {"prefill_ms", "token_ms", "tokens_per_s", "peak_total_bytes", "cache_bytes"}) {
      EXPECT_GT(row.at(field), 0) << field;
    }
    EXPECT_GE(row.at("prefill_ms_std"), 0);
    EXPECT_EQ(row.at("tokens"), rows[0].at("tokens")) << "the same text";
  }
  for (const char* text : {"first token (prompt of 5)", "each further token", "tokens/s", "±",
                           "peak memory", "speed-up of the others", "same text"}) {
    expect_text(result.out, text);
  }
  expect_pictures();
}

TEST_F(SweepTest, GenerationWithLongerPrompts) {
  const ProgramResult result = compare({"--task", "generate", "--new-tokens", "3", "--runs", "2",
                                        "--sweep", "seq=8,100", "--n-positions", "50"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const std::vector<Json> rows = rows_of(results(), "sweep");
  ASSERT_EQ(rows.size(), 4u);
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("task"), "generate");
    EXPECT_GT(row.at("prefill_ms"), 0);
    EXPECT_GT(row.at("token_ms"), 0);
  }
  expect_text(result.out, "Time to the first token");
  expect_pictures();
}

}  // namespace
}  // namespace strobe::testing
