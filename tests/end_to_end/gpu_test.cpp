// The commands on a GPU: what they write is what they write on the CPU, up to rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "strobe/core/device.h"
#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

class GpuCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!why_no_cuda().empty()) GTEST_SKIP() << why_no_cuda();
  }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  // `strobe compare` on the GPU, with these options besides: its results.
  std::vector<Json> compare(const std::vector<std::string>& options) const {
    std::vector<std::string> words = small_model({"compare", "--data", "lab", "--device", "cuda"});
    words.insert(words.end(), {"--out", path("compared")});
    words.insert(words.end(), options.begin(), options.end());
    expect_success(words);
    return read_rows(path("compared/results.jsonl"));
  }

  // The options of a model whose steps take milliseconds, after these words.
  static std::vector<std::string> small_model(std::vector<std::string> words) {
    words.insert(words.end(), {"--n-layer", "1", "--n-embd", "64", "--n-head", "2"});
    return words;
  }

  // The program runs with these words; its error is shown where not.
  static void expect_success(const std::vector<std::string>& words) {
    const ProgramResult result = run_strobe(words);
    ASSERT_EQ(result.exit_code, 0) << result.error;
  }

  // Each row that says where it was measured names the GPU; so many do.
  static void expect_gpu(const std::vector<Json>& rows, size_t count) {
    size_t found = 0;
    for (const Json& row : rows) {
      if (row.contains("attention_impl")) {
        EXPECT_TRUE(row.at("attention_impl").get<std::string>().starts_with("cuda_")) << row.dump();
      }
      if (!row.contains("git")) continue;
      ++found;
      EXPECT_EQ(row.at("device"), "cuda");
      EXPECT_EQ(row.value("gpu", ""), cuda_info().name) << row.dump();
      EXPECT_TRUE(row.value("subtitle", cuda_info().name).ends_with(cuda_info().name))
          << row.dump();
    }
    EXPECT_EQ(found, count);
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(GpuCommands, InfoNamesTheGpuAndWhatRunsThere) {
  const ProgramResult result = run_strobe({"info", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const Json info = Json::parse(result.out);
  EXPECT_EQ(info.at("device"), "cuda") << "what `auto` means here";
  EXPECT_EQ(info.at("gpus").at(0).at("gpu"), cuda_info().name);
  for (const Json& problem : info.at("attention")) {
    EXPECT_TRUE(problem.at("chosen").get<std::string>().starts_with("cuda")) << problem.dump(2);
  }
  EXPECT_EQ(run_strobe({"info", "--device", "cpu"}).exit_code, 0);
  const ProgramResult absent = run_strobe({"info", "--device", "cuda:99"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.error.find("cuda:99"), std::string::npos) << absent.error;
}

TEST_F(GpuCommands, AttentionIsCheckedAndTimed) {
  for (const char* dtype : {"f32", "f16", "bf16"}) {
    expect_success(
        {"bench",     "attention", "--device",        "cuda", "--dtype",         dtype,
         "--seq",     "150",       "--heads",         "4",    "--kv-heads",      "2",
         "--dropout", "0.1",       "--padded-keys",   "30",   "--deterministic", "--repeats",
         "9",         "--json",    path("rows.jsonl")});
  }
  const std::vector<Json> rows = rows_of(path("rows.jsonl"), "bench");
  ASSERT_EQ(rows.size(), 12u) << "standard and flash, forward and backward, in three types";
  for (const Json& row : rows) {
    EXPECT_TRUE(row.at("impl").get<std::string>().starts_with("cuda_")) << row.dump();
    EXPECT_EQ(row.at("gpu"), cuda_info().name);
    EXPECT_EQ(row.at("repeats"), 9);
    EXPECT_EQ(row.at("checked_queries"), 150);
    EXPECT_LT(row.at("rms_err"), row.at("dtype") == "f32" ? 1e-5 : 1e-2) << row.dump();
    EXPECT_LT(row.at("ms_median"), 10);
    EXPECT_LT(row.at("ratio"), 1);
  }
}

TEST_F(GpuCommands, AFewQueriesOfALongSequenceAreChecked) {
  expect_success({"bench", "attention", "--device", "cuda", "--dtype", "bf16", "--seq", "6000",
                  "--heads", "32", "--impl", "flash", "--repeats", "3", "--json",
                  path("rows.jsonl")});
  for (const Json& row : rows_of(path("rows.jsonl"), "bench")) {
    EXPECT_LT(row.at("checked_queries"), 100);
    EXPECT_LT(row.at("rms_err"), 1e-2);
  }
}

TEST_F(GpuCommands, MasksAreThoseOfTheCpu) {
  const auto masks = [&](const char* device) {
    expect_success({"masks", "--device", device, "--heads", "2", "--key-length", "100,50",
                    "--window", "8,2", "--out", path(device)});
    return rows_of(path(device) + "/masks.jsonl", "mask");
  };
  const std::vector<Json> gpu = masks("cuda"), cpu = masks("cpu");
  ASSERT_EQ(gpu.size(), 4u);
  for (size_t i = 0; i < gpu.size(); ++i) {
    EXPECT_EQ(gpu[i].at("name"), cpu[i].at("name"));
    EXPECT_EQ(gpu[i].at("visible"), cpu[i].at("visible"));
    EXPECT_LT(gpu[i].at("probability_sum_error"), 1e-5);
    if (!gpu[i].contains("mean_difference")) continue;
    EXPECT_NEAR(gpu[i].at("mean_difference"), cpu[i].at("mean_difference"), 1e-5);
    EXPECT_NEAR(gpu[i].at("max_difference"), cpu[i].at("max_difference"), 1e-4);
  }
}

TEST_F(GpuCommands, TrainingGoesOnAndItsModelWrites) {
  expect_success(small_model({"train", "--data", "lab", "--device", "cuda", "--seq", "48",
                              "--batch", "2", "--steps", "6", "--save-every", "3", "--out",
                              path("run"), "--save-model", path("model")}));
  expect_success({"train", "--resume", path("run"), "--steps", "8", "--device", "cuda"});
  const std::string metrics = path("run") + "/metrics.jsonl";
  expect_gpu(read_rows(metrics), 2);
  EXPECT_EQ(rows_of(metrics, "resume").at(0).at("step"), 6);
  const std::vector<Json> steps = rows_of(metrics, "step");
  ASSERT_EQ(steps.size(), 8u);
  EXPECT_LT(steps.back().at("loss"), steps.front().at("loss"));

  expect_success({"generate", "--model", path("model"), "--prompt", "The quick", "--device", "cuda",
                  "--max-new-tokens", "5", "--json", path("text.jsonl")});
  expect_gpu(read_rows(path("text.jsonl")), 1);
  EXPECT_EQ(rows_of(path("text.jsonl"), "continuation").size(), 1u);
}

TEST_F(GpuCommands, ComparisonsOfTraining) {
  expect_gpu(compare({"--seq", "48", "--steps", "5"}), 3);
  EXPECT_EQ(rows_of(path("compared/results.jsonl"), "comparison").size(), 1u);
}

TEST_F(GpuCommands, ComparisonsOfSeveralSizes) {
  const std::vector<Json> rows = compare({"--sweep", "seq=32,64", "--attention", "flash"});
  expect_gpu(rows, 1);
  ASSERT_EQ(rows.size(), 3u);
  for (const size_t i : {1u, 2u}) EXPECT_EQ(rows[i].at("ending"), "finished") << rows[i].dump();
}

TEST_F(GpuCommands, ComparisonsOfGeneration) {
  expect_gpu(compare({"--task", "generate", "--new-tokens", "4", "--runs", "2"}), 1);
  EXPECT_EQ(rows_of(path("compared/results.jsonl"), "generation").size(), 2u);
}

TEST_F(GpuCommands, TrainingStepsAndGenerationAreTimed) {
  for (std::vector<std::string> words :
       {std::vector<std::string>{"bench", "train", "--shapes", "2x64", "--repeats", "3"},
        {"bench", "generate", "--dtypes", "bf16", "--new-tokens", "4", "--runs", "2"}}) {
    words.insert(words.end(), {"--device", "cuda", "--json", path("rows.jsonl")});
    expect_success(small_model(words));
  }
  const std::vector<Json> rows = read_rows(path("rows.jsonl"));
  ASSERT_EQ(rows.size(), 2u);
  expect_gpu(rows, 2);
  EXPECT_TRUE(rows[0].at("impl").get<std::string>().starts_with("cuda_")) << rows[0].dump();
}

}  // namespace
}  // namespace strobe::testing
