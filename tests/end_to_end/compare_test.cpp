// `strobe compare` and `strobe bench` as a user meets them: tables, files, pictures, mistakes.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

void expect_failure(const ProgramResult& result, int exit_code, const std::string& text) {
  EXPECT_EQ(result.exit_code, exit_code);
  EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
  EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
  EXPECT_EQ(result.out, "");
}

class CompareTest : public ::testing::Test {
 protected:
  // Of a model that takes milliseconds, with these options besides.
  ProgramResult compare(const std::vector<std::string>& options,
                        const ProgramSetting& setting = {}) {
    std::vector<std::string> all = {
        "compare", "--n-layer", "1",   "--n-embd", "32", "--n-head", "2",  "--batch",  "2", "--seq",
        "48",      "--data",    "lab", "--steps",  "5",  "--out",    out_, "--warmup", "0"};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all, setting);
  }

  std::string file(const std::string& name) const { return out_ + "/" + name; }
  std::string results() const { return file("results.jsonl"); }
  std::vector<Json> rows(const std::string& kind, const std::string& attention) const {
    std::vector<Json> found = rows_of(results(), kind);
    std::erase_if(found, [&](const Json& row) { return row.value("attention", "") != attention; });
    return found;
  }

  void expect_pictures() const {
    if (!has_gnuplot()) return;
    EXPECT_GT(fs::file_size(file("compare.png")), 20'000u);
    EXPECT_GT(fs::file_size(file("compare.svg")), 10'000u);
  }

  TemporaryFolder folder_;
  std::string out_ = folder_.path() + "/compared";
};

TEST_F(CompareTest, ShowsBothAndTheirDifference) {
  const ProgramResult result = compare({});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  for (const char* expected :
       {"standard", "flash", "step time, median", "tokens/s", "peak memory", "loss, last step",
        "speed-up of a step", "memory saved", "largest loss difference", "results.jsonl"}) {
    EXPECT_NE(result.out.find(expected), std::string::npos) << expected << "\n" << result.out;
  }
  EXPECT_NE(result.error.find("flash [######"), std::string::npos) << "progress of each run";

  const Json provenance = read_rows(results()).front();
  EXPECT_EQ(provenance.at("kind"), "provenance");
  EXPECT_EQ(provenance.at("options").at("attention"), "standard,flash");
  EXPECT_EQ(provenance.at("options").at("n_embd"), 32);
  EXPECT_EQ(provenance.at("device"), "cpu");
  const std::string subtitle = provenance.at("subtitle");
  EXPECT_NE(subtitle.find(" · " + cpu_info().model + ", "), std::string::npos) << subtitle;
  for (const char* attention : {"standard", "flash"}) {
    EXPECT_EQ(rows("step", attention).size(), 5u);
    EXPECT_EQ(rows("summary", attention).size(), 1u);
  }
  expect_pictures();
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(out_)) files.push_back(entry.path().filename());
  EXPECT_EQ(std::ranges::count(files, "flash.jsonl"), 0) << "nothing is left over";
}

// Same weights, batches and dropout: only rounding may differ.
TEST_F(CompareTest, LossesAgree) {
  ASSERT_EQ(compare({"--steps", "20", "--dropout", "0.1", "--seq", "256"}).exit_code, 0);
  const Json comparison = rows_of(results(), "comparison").at(0);
  EXPECT_EQ(comparison.at("baseline"), "standard");
  EXPECT_EQ(comparison.at("attention"), "flash");
  EXPECT_LE(comparison.at("first_loss_difference_relative"), 1e-6);
  EXPECT_LE(comparison.at("loss_difference_relative"), 1e-4);
  const std::vector<Json> steps = rows("step", "flash");
  EXPECT_LT(steps.back().at("loss"), steps.front().at("loss"));
  EXPECT_LT(rows("summary", "flash").at(0).at("peak_bytes").at("attention"),
            rows("summary", "standard").at(0).at("peak_bytes").at("attention"));
}

TEST_F(CompareTest, MistakesAreOneLineAndLoseNothing) {
  ASSERT_EQ(compare({}).exit_code, 0);
  const size_t before = read_rows(results()).size();
  expect_failure(compare({"--preset", "huge"}), 2,
                 "preset is 'huge', allowed are quick, lab, gpt2");
  expect_failure(compare({"--attention", "standard,flesh"}), 2,
                 "attention is 'flesh', allowed are any, standard, flash, cpu_");
  expect_failure(compare({"--attention", "flash,flash"}), 2, "names flash twice");
  expect_failure(compare({"--attention", "flash,"}), 2, "attention is '', allowed are");
  expect_failure(compare({"--stepps", "3"}), 2, "unknown option '--stepps'");
  expect_failure(compare({"--n-head", "5"}), 1, "n_embd is 32, allowed is a multiple of n_head");
  expect_failure(compare({"--data", "/missing"}), 1, "No such file");
  expect_failure(compare({"--out", "/proc/compared"}), 1, "cannot create the folder");
  expect_failure(compare({"--dtype", "f16", "--device", "cpu"}), 1,
                 "the model's type is f16, allowed for training on cpu: f32");
  expect_failure(compare({"--tf32", "--device", "cpu"}), 1, "tf32 is asked for with f32 on cpu");
  const ProgramSetting no_gpu = {.environment = {"CUDA_VISIBLE_DEVICES="}, .while_it_runs = {}};
  expect_failure(compare({"--device", "cuda"}, no_gpu), 1, "device 'cuda': ");
  expect_failure(compare({"--device", "cuda", "--sweep", "batch=1"}, no_gpu), 1, "device 'cuda': ");
  expect_failure(compare({"--device", "cuda", "--task", "generate"}, no_gpu), 1, "device 'cuda': ");
  EXPECT_EQ(read_rows(results()).size(), before);
}

TEST_F(CompareTest, AFullDiskExits1) {
  ASSERT_TRUE(fs::create_directories(out_));
  fs::create_symlink("/dev/full", results());
  expect_failure(compare({}), 1, "results.jsonl': No space left on device");
}

TEST_F(CompareTest, AFailedRunIsReportedAndTheOtherKept) {
  const ProgramResult result = compare({"--attention", "standard,cpu_flash_avx512"},
                                       {.environment = {"STROBE_MAX_ISA=avx2"}});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("cpu_flash_avx512: needs avx512, this CPU offers"), std::string::npos)
      << result.error;
  EXPECT_NE(result.error.find("strobe: cpu_flash_avx512 failed; what was measured is in "),
            std::string::npos)
      << result.error;
  EXPECT_NE(result.out.find("step time, median"), std::string::npos) << result.out;
  EXPECT_EQ(rows("step", "standard").size(), 5u);
  EXPECT_EQ(rows("error", "cpu_flash_avx512").size(), 1u);
  expect_pictures();
}

TEST_F(CompareTest, ALossThatIsNoNumberKeepsTheStepsBefore) {
  const ProgramResult result =
      compare({"--learning-rate", "1e30", "--schedule", "constant", "--steps", "9"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("strobe: the loss is nan at step 2"), std::string::npos)
      << result.error;
  EXPECT_NE(result.error.find("strobe: standard and flash failed"), std::string::npos)
      << result.error;
  EXPECT_EQ(rows("summary", "flash").at(0).at("ending"), "diverged");
  EXPECT_TRUE(rows("step", "flash").at(0).at("loss").is_number());
  expect_pictures();
}

TEST_F(CompareTest, WithoutGnuplotTheResultsAreThere) {
  const ProgramResult result = compare({}, {.environment = {"PATH=/nonexistent"}});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.error.find("strobe: warning: no pictures: gnuplot is not installed"),
            std::string::npos)
      << result.error;
  EXPECT_EQ(rows_of(results(), "comparison").size(), 1u);
  EXPECT_FALSE(fs::exists(file("compare.png")));
  EXPECT_GT(fs::file_size(file("report.html")), 10'000u) << "draws its charts itself";
}

TEST_F(CompareTest, CtrlCKeepsWhatWasMeasured) {
  for (int signal : {SIGINT, SIGTERM}) {
    const auto interrupt_at_work = [&](pid_t program) {
      for (int i = 0; i < 6000 && rows_of(file("standard.jsonl"), "step").size() < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      kill(program, signal);
    };
    const ProgramResult result =
        compare({"--steps", "1000000"}, {.environment = {}, .while_it_runs = interrupt_at_work});
    EXPECT_EQ(result.exit_code, 128 + signal) << result.error;
    EXPECT_NE(result.out.find("step time, median"), std::string::npos) << result.out;
    EXPECT_EQ(rows("summary", "standard").at(0).at("ending"), "interrupted");
    EXPECT_GE(rows("step", "standard").size(), 2u);
    EXPECT_EQ(rows("step", "flash").size(), 0u) << "the others are not begun";
    expect_pictures();
  }
}

TEST(BenchTest, AttentionIsCheckedTimedAndWritten) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/rows.jsonl";
  const auto bench = [&](const std::vector<std::string>& options) {
    std::vector<std::string> all = {"bench",   "attention", "--repeats", "2",  "--json",     path,
                                    "--heads", "2",         "--seq",     "70", "--head-dim", "32"};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all);
  };
  const ProgramResult result = bench({});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_NE(result.out.find("cpu_flash_"), std::string::npos) << result.out;
  ASSERT_EQ(bench({"--dtype", "bf16", "--mask", "window", "--kv-heads", "1", "--dropout", "0.1",
                   "--impl", "flash"})
                .exit_code,
            0);
  ASSERT_EQ(bench({"--mask", "full", "--padded-keys", "20", "--impl", "flash"}).exit_code, 0);
  const std::vector<Json> rows = rows_of(path, "bench");
  ASSERT_EQ(rows.size(), 8u) << "two implementations, one and one, forward and backward, one file";
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("repeats"), 2);
    EXPECT_GT(row.at("gflops"), 0);
    EXPECT_GT(row.at("ratio"), 0);
    EXPECT_LT(row.at("max_err"), 0.05);
    EXPECT_LT(row.at("rms_err"), 0.01);
    EXPECT_EQ(row.at("checked_queries"), 70) << "all, of so few";
    EXPECT_EQ(row.at("device"), "cpu");
    EXPECT_TRUE(row.contains("git") && row.contains("cpu") && row.contains("isa"));
  }
  EXPECT_GT(rows[0].at("saved_bytes"), 0) << "standard keeps the probabilities";
  EXPECT_EQ(rows[7].at("padded_keys"), 20);
}

TEST(BenchTest, MistakesAreOneLine) {
  const auto attention = [](std::vector<std::string> options) {
    options.insert(options.begin(), {"bench", "attention", "--seq", "70", "--heads", "4"});
    return run_strobe(options);
  };
  expect_failure(attention({"--padded-keys", "70"}), 2, "--padded-keys is 70, there are 70 keys");
  expect_failure(attention({"--head-dim", "63"}), 2, "--head-dim is 63, allowed is a multiple of");
  expect_failure(attention({"--kv-heads", "3"}), 2,
                 "--kv-heads is 3, allowed is what divides the 4 query heads");
  expect_failure(attention({"--dropout", "0.001"}), 2, "--dropout 0.001 rounds to 0");
  expect_failure(attention({"--preset", "huge"}), 2, "--preset is 'huge', allowed are papers");
  expect_failure(attention({"--impl", "flesh"}), 2, "attention is 'flesh', allowed are");
  expect_failure(run_strobe({"bench", "everything"}), 2, "bench of 'everything', allowed are");
  expect_failure(run_strobe({"bench", "train", "--dtypes", "f32,f16", "--device", "cpu"}), 1,
                 "the model's type is f16, allowed for training on cpu: f32");
}

TEST(BenchTest, TrainingStepsAreTimed) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/rows.jsonl";
  const auto bench = [&](const std::string& shapes) {
    return run_strobe({"bench", "train", "--n-layer", "1", "--n-embd", "32", "--n-head", "2",
                       "--vocab-size", "257", "--shapes", shapes, "--repeats", "2", "--json",
                       path});
  };
  const ProgramResult result = bench("2x16,1x40");
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const std::vector<Json> rows = rows_of(path, "bench");
  ASSERT_EQ(rows.size(), 4u) << "two shapes, f32 and bf16";
  const double parameters = rows[0].at("parameters");
  EXPECT_EQ(rows[0].at("flop"), 32 * (6 * parameters + 6.0 * 1 * 32 * 16));
  EXPECT_GT(rows[3].at("tokens_per_s"), 0);
  EXPECT_EQ(bench("2by16").exit_code, 2);
  EXPECT_EQ(bench("1x2000").exit_code, 1);
}

}  // namespace
}  // namespace strobe::testing
