// The built program as a user meets it: exit codes, messages, files.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

// Text of which no two lines are alike, but all are similar.
std::string some_text() {
  std::string text;
  for (int line = 0; line < 300; ++line) {
    text += fmt::format("Line {} of a text that a small model can learn quickly.\n", line);
  }
  return text;
}

class CliTest : public ::testing::Test {
 protected:
  // `strobe train` of a model that takes milliseconds, with these options besides.
  ProgramResult train(const std::vector<std::string>& options, const ProgramSetting& setting = {}) {
    std::vector<std::string> all = {
        "train", "--n-layer", "1", "--n-embd", "32",  "--n-head", "2",  "--batch",  "2", "--seq",
        "32",    "--steps",   "3", "--data",   text_, "--out",    out_, "--warmup", "0"};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all, setting);
  }

  // The run failed with this exit code, and its message is one line with this text.
  static void expect_failure(const ProgramResult& result, int exit_code, const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_TRUE(result.error.starts_with("strobe: ")) << result.error;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
    EXPECT_EQ(result.out, "");
  }

  std::string metrics() const { return out_ + "/metrics.jsonl"; }

  TemporaryFolder folder_;
  std::string text_ = folder_.file("text", some_text());
  std::string out_ = folder_.path() + "/results/of/a/run";
};

TEST_F(CliTest, HelpAndVersion) {
  for (const char* word : {"--help", "-h", "help"}) {
    const ProgramResult result = run_strobe({word});
    EXPECT_EQ(result.exit_code, 0);
    for (const char* command : {"info", "train", "compare", "bench"}) {
      EXPECT_NE(result.out.find(command), std::string::npos) << command;
    }
  }
  EXPECT_EQ(run_strobe({}).exit_code, 2);
  const ProgramResult version = run_strobe({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_TRUE(version.out.starts_with("strobe 0.")) << version.out;
  const ProgramResult help = run_strobe({"train", "--preset", "lab", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("--vocab-size N=50257"), std::string::npos) << "the preset's defaults";
}

TEST_F(CliTest, UsageErrorsExit2) {
  expect_failure(run_strobe({"tarin"}), 2, "unknown command 'tarin', allowed are info, train");
  expect_failure(train({"--stepps", "3"}), 2, "unknown option '--stepps'");
  expect_failure(train({"--preset", "huge"}), 2, "preset is 'huge', allowed are quick, lab, gpt2");
  expect_failure(train({"--dtype", "f8"}), 2, "--dtype is 'f8', allowed are f32|f16|bf16");
  expect_failure(train({"--device", "gpu"}), 2,
                 "--device is 'gpu', allowed are auto|cpu|cuda|cuda:N");
  expect_failure(train({"--seq"}), 2, "--seq needs a value");
  for (const char* option : {"--batch", "--seq", "--steps", "--n-layer", "--n-head", "--n-embd",
                             "--n-positions", "--vocab-size", "--accumulation"}) {
    for (const char* value : {"0", "-4", "many"}) {
      expect_failure(train({option, value}), 2,
                     fmt::format("{} is '{}', allowed is", option, value));
    }
  }
  for (const char* value : {"1", "-0.1", "1.5", "nan"}) {
    expect_failure(train({"--dropout", value}), 2, "allowed is a number from 0 to below 1");
  }
  EXPECT_FALSE(std::filesystem::exists(out_)) << "nothing is made before the options are right";
}

TEST_F(CliTest, AMachineWithoutAGpuSaysSo) {
  const ProgramSetting hidden = {.environment = {"CUDA_VISIBLE_DEVICES="}, .while_it_runs = {}};
  for (const char* device : {"cuda", "cuda:1"}) {
    expect_failure(run_strobe({"info", "--device", device}, hidden), 1,
                   fmt::format("device '{}': {}", device, why_no_cuda()));
  }
  const ProgramResult info = run_strobe({"info"}, hidden);
  EXPECT_EQ(info.exit_code, 0) << info.error;
  EXPECT_NE(info.out.find("Attention on cpu"), std::string::npos) << info.out;
}

TEST_F(CliTest, OptionsThatDoNotFitTogetherExit1) {
  expect_failure(train({"--n-head", "5"}), 1, "n_embd is 32, allowed is a multiple of n_head");
  expect_failure(train({"--seq", "200", "--n-positions", "100"}), 1,
                 "seq is 200, allowed is up to n_positions, 100");
  expect_failure(train({"--dropout", "0.0001"}), 1, "rounds to 0");
  expect_failure(train({"--attention", "flesh"}), 1,
                 "attention is 'flesh', allowed are any, standard, flash");
}

TEST_F(CliTest, DataThatCannotBeReadExits1) {
  expect_failure(train({"--data", folder_.path() + "/missing"}), 1, "missing': No such file");
  expect_failure(train({"--data", folder_.path()}), 1, "is a folder");
  expect_failure(train({"--data", folder_.file("empty", "")}), 1, "empty' is empty");
  expect_failure(train({"--data", folder_.file("short", "too short")}), 1,
                 "has 9 tokens, less than one window of 32");
  expect_failure(train({"--data", folder_.file("newlines", "\n\n"), "--batching", "padded"}), 1,
                 "no line that is not empty");
  if (geteuid() != 0) {
    const std::string secret = folder_.file("secret", some_text());
    ASSERT_EQ(chmod(secret.c_str(), 0), 0);
    expect_failure(train({"--data", secret}), 1, "Permission denied");
  }
}

TEST_F(CliTest, BytesThatAreNotUtf8AreTokens) {
  std::string bytes;
  for (int i = 0; i < 2000; ++i) bytes += static_cast<char>(i * 37 % 256);
  EXPECT_EQ(train({"--data", folder_.file("bytes", bytes)}).exit_code, 0);
}

TEST_F(CliTest, AnAttentionThatCannotRunHereSaysWhy) {
  const ProgramResult result =
      train({"--attention", "cpu_flash_avx512"}, {.environment = {"STROBE_MAX_ISA=avx2"}});
  expect_failure(result, 1, "attention cannot be run by cpu_flash_avx512: needs avx512, this CPU");
  EXPECT_EQ(result.error.find("cpu_standard_"), std::string::npos) << "nobody asked for others";
  expect_failure(train({}, {.environment = {"STROBE_MAX_ISA=sse"}}), 1, "STROBE_MAX_ISA is 'sse'");
}

TEST_F(CliTest, AFolderThatCannotBeWrittenExits1) {
  expect_failure(train({"--out", "/proc/results"}), 1, "cannot create the folder '/proc/results'");
  expect_failure(train({"--out", text_}), 1, "text'");
  if (geteuid() != 0) {
    ASSERT_EQ(mkdir((folder_.path() + "/fixed").c_str(), 0500), 0);
    expect_failure(train({"--out", folder_.path() + "/fixed"}), 1, "Permission denied");
  }
}

TEST_F(CliTest, AFullDiskExits1) {
  ASSERT_TRUE(std::filesystem::create_directories(out_));
  std::filesystem::create_symlink("/dev/full", metrics());
  expect_failure(train({}), 1, "metrics.jsonl': No space left on device");
}

TEST_F(CliTest, AMistakeKeepsEarlierResults) {
  ASSERT_EQ(train({}).exit_code, 0);
  const size_t rows = read_rows(metrics()).size();
  expect_failure(train({"--data", "/missing"}), 1, "No such file");
  expect_failure(train({"--n-head", "5"}), 1, "n_embd");
  EXPECT_EQ(read_rows(metrics()).size(), rows);
}

TEST_F(CliTest, VerboseSaysWhere) {
  const ProgramResult result = train({"--data", "/missing", "--verbose"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("corpus.cpp:"), std::string::npos) << result.error;
}

TEST_F(CliTest, TrainingLowersTheLossAndLeavesItsRecord) {
  const ProgramResult result = train({"--steps", "30", "--learning-rate", "3e-3", "--seed", "7"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_NE(result.error.find("30/30"), std::string::npos) << "plain progress lines on a pipe";
  EXPECT_EQ(result.error.find('\r'), std::string::npos);
  EXPECT_NE(result.out.find(metrics()), std::string::npos) << "says where the results are";

  const std::vector<Json> rows = read_rows(metrics());
  EXPECT_EQ(rows.front().at("kind"), "provenance");
  for (const char* key : {"git", "date", "cpu", "isa", "threads", "onednn", "compiler"}) {
    EXPECT_TRUE(rows.front().contains(key)) << key;
  }
  EXPECT_EQ(rows.front().at("options").at("seed"), 7);
  EXPECT_EQ(rows.back().at("kind"), "summary");
  EXPECT_EQ(rows.back().at("ending"), "finished");
  const std::vector<Json> steps = rows_of(metrics(), "step");
  ASSERT_EQ(steps.size(), 30u);
  EXPECT_LT(steps.back().at("loss"), 0.8 * steps.front().at("loss").get<double>());
  EXPECT_EQ(rows_of(metrics(), "validation").size(), 1u);
}

TEST_F(CliTest, TheSameSeedGivesTheSameLosses) {
  const auto losses = [&] {
    EXPECT_EQ(train({"--steps", "8"}).exit_code, 0);
    std::vector<double> values;
    for (const Json& row : rows_of(metrics(), "step")) values.push_back(row.at("loss"));
    return values;
  };
  const std::vector<double> first = losses();
  EXPECT_EQ(first.size(), 8u);
  EXPECT_EQ(losses(), first);
}

TEST_F(CliTest, TheLabsOwnTextIsBuiltIn) {
  ASSERT_EQ(train({"--data", "lab", "--batching", "padded"}).exit_code, 0);
  const Json provenance = read_rows(metrics()).front();
  EXPECT_EQ(provenance.at("training_samples"), 270);
  EXPECT_EQ(provenance.at("validation_samples"), 30);
}

TEST_F(CliTest, ALossThatIsNoNumberStopsTheRun) {
  const ProgramResult result =
      train({"--learning-rate", "1e30", "--schedule", "constant", "--steps", "1000"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("strobe: the loss is nan at step 2"), std::string::npos)
      << result.error;
  EXPECT_NE(result.error.find(metrics()), std::string::npos) << result.error;
  const std::vector<Json> steps = rows_of(metrics(), "step");
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_TRUE(steps[0].at("loss").is_number());
  EXPECT_TRUE(steps[1].at("loss").is_null());
  EXPECT_EQ(rows_of(metrics(), "summary").at(0).at("ending"), "diverged");
}

TEST_F(CliTest, CtrlCStopsAfterTheStepAndKeepsTheResults) {
  for (int signal : {SIGINT, SIGTERM}) {
    const auto interrupt_at_work = [&](pid_t program) {
      for (int i = 0; i < 6000 && rows_of(metrics(), "step").size() < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      kill(program, signal);
    };
    const ProgramResult result =
        train({"--steps", "1000000"}, {.while_it_runs = interrupt_at_work});
    EXPECT_EQ(result.exit_code, 128 + signal);
    EXPECT_NE(result.error.find("strobe: stopped after step "), std::string::npos) << result.error;
    const size_t steps = rows_of(metrics(), "step").size();
    EXPECT_GE(steps, 2u);
    EXPECT_LT(steps, 1000000u);
    const Json summary = rows_of(metrics(), "summary").at(0);
    EXPECT_EQ(summary.at("ending"), "interrupted");
    EXPECT_EQ(summary.at("steps"), steps);
    std::filesystem::remove(metrics());
  }
}

TEST_F(CliTest, AModelThatDoesNotFitIsAClearError) {
  expect_failure(train({"--n-embd", "16384", "--n-head", "128", "--vocab-size", "16777216"}), 1,
                 "out of memory: weights need");
}

TEST(InfoTest, SaysWhatRunsAndWhyNot) {
  const ProgramResult text = run_strobe({"info"}, {.environment = {"STROBE_MAX_ISA=scalar"}});
  ASSERT_EQ(text.exit_code, 0) << text.error;
  for (const char* expected : {"oneDNN", "cpu_flash_scalar", "needs avx2, this CPU offers scalar",
                               "chosen", "threads", "gnuplot"}) {
    EXPECT_NE(text.out.find(expected), std::string::npos) << expected << "\n" << text.out;
  }
  const ProgramResult json = run_strobe({"info", "--json"});
  ASSERT_EQ(json.exit_code, 0);
  const Json info = Json::parse(json.out);
  EXPECT_TRUE(info.at("libraries").contains("oneDNN"));
  ASSERT_FALSE(info.at("attention").empty());
  for (const Json& problem : info.at("attention")) {
    int chosen = 0;
    for (const Json& row : problem.at("implementations")) {
      EXPECT_NE(row.at("reason"), "") << row;
      chosen += row.at("verdict") == "chosen" && row.at("name") == problem.at("chosen");
    }
    EXPECT_EQ(chosen, 1) << problem;
  }
  EXPECT_EQ(run_strobe({"info", "--jsn"}).exit_code, 2);
}

}  // namespace
}  // namespace strobe::testing
