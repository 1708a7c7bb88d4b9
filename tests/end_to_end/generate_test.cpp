// `strobe generate` and `strobe bench generate` as a user meets them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

const std::string kModel = STROBE_SOURCE_DIR "/tests/golden/generation";

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Json goldens() { return Json::parse(read_file(kModel + "/expected.json")); }

using Words = std::vector<std::string>;

ProgramResult generate(const Words& options, const ProgramSetting& setting = {}) {
  Words all = {"generate", "--model", kModel};
  all.insert(all.end(), options.begin(), options.end());
  return run_strobe(all, setting);
}

void expect_failure(const ProgramResult& result, int exit_code, const std::string& text) {
  EXPECT_EQ(result.exit_code, exit_code) << result.error;
  EXPECT_TRUE(result.error.starts_with("strobe: ")) << result.error;
  EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
  EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
  EXPECT_EQ(result.out, "");
}

TEST(GenerateProgram, WritesWhatTransformersWrites) {
  for (const Json& batch : goldens()) {
    const std::string count = std::to_string(batch["max_new_tokens"].get<int64_t>());
    Words together = {"--max-new-tokens", count};
    std::string expected;
    const size_t size = batch["prompts"].size();
    for (size_t i = 0; i < size; ++i) {
      const std::string prompt = batch["prompts"][i], text = batch["texts"][i];
      together.insert(together.end(), {"--prompt", prompt});
      expected +=
          fmt::format("{}== {} of {} ==\n{}{}\n", i == 0 ? "" : "\n", i + 1, size, prompt, text);
      const ProgramResult alone = generate({"--prompt", prompt, "--max-new-tokens", count});
      EXPECT_EQ(alone.exit_code, 0) << alone.error;
      EXPECT_EQ(alone.out, prompt + text + "\n");
      EXPECT_NE(alone.error.find("ms a token"), std::string::npos) << alone.error;
    }
    if (size == 1) continue;
    for (const char* option : {"--cache", "--no-cache", "--attention=standard", "--sliding"}) {
      Words words = together;
      words.emplace_back(option);
      EXPECT_EQ(generate(words).out, expected) << option;
    }
  }
}

TEST(GenerateProgram, PromptsFromAFileAndRowsOfResults) {
  const TemporaryFolder folder;
  const Json batch = goldens()[1];
  std::string lines;
  for (const Json& prompt : batch["prompts"]) lines += prompt.get<std::string>() + "\r\n";
  const std::string rows = folder.path() + "/rows.jsonl";
  const ProgramResult result = generate(
      {"--prompts", folder.file("prompts", lines), "--json", rows, "--max-new-tokens", "24"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(rows_of(rows, "provenance").at(0).at("command"), "generate");
  const std::vector<Json> generations = rows_of(rows, "continuation");
  ASSERT_EQ(generations.size(), batch["prompts"].size());
  for (size_t i = 0; i < generations.size(); ++i) {
    EXPECT_EQ(generations[i].at("sequence"), i);
    EXPECT_EQ(generations[i].at("prompt"), batch["prompts"][i]);
    EXPECT_EQ(generations[i].at("tokens"), batch["continuations"][i]);
    EXPECT_EQ(generations[i].at("text"), batch["texts"][i]);
    EXPECT_EQ(generations[i].at("is_ended"), batch["continuations"][i].size() < 24);
  }
  const Json summary = rows_of(rows, "continuation_summary").at(0);
  EXPECT_EQ(summary.at("token_ms").size(), 23U);
  EXPECT_GT(summary.at("peak_bytes").at("cache").get<double>(), 0);
}

TEST(GenerateProgram, SamplesFollowTheSeedAndNotTheBatch) {
  const Words sampled = {"--prompt",         "The quick", "--temperature", "1.2", "--top-k", "90",
                         "--max-new-tokens", "30",        "--top-p",       "0.95"};
  const auto run = [&](const char* seed, const Words& more = {}) {
    Words words = sampled;
    words.insert(words.end(), {"--seed", seed});
    words.insert(words.end(), more.begin(), more.end());
    return generate(words).out;
  };
  const std::string first = run("1");
  EXPECT_EQ(run("1"), first);
  EXPECT_NE(run("2"), first);
  EXPECT_NE(run("1", {"--prompt", "Another one", "--prompt", ""}).find("== 1 of 3 ==\n" + first),
            std::string::npos);
}

TEST(GenerateProgram, EveryTypeGoesOnPastThePositionsOnEveryMachine) {
  for (const char* isa : {"avx512_bf16", "avx2", "scalar"}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      const ProgramResult result =
          generate({"--prompt", "The quick", "--max-new-tokens", "150", "--sliding", "--dtype",
                    dtype, "--temperature", "2"},
                   {.environment = {fmt::format("STROBE_MAX_ISA={}", isa)}, .while_it_runs = {}});
      EXPECT_EQ(result.exit_code, 0) << isa << " " << dtype << ": " << result.error;
      EXPECT_TRUE(result.out.starts_with("The quick"));
    }
  }
}

// The model with another token as end of text goes on for ever.
TEST(GenerateProgram, CtrlCStopsAfterATokenWithWhatThereIs) {
  const TemporaryFolder folder;
  for (const char* file : {"model.safetensors", "tokenizer.json"}) {
    std::filesystem::copy(kModel + "/" + file, folder.path() + "/" + file);
  }
  Json config = Json::parse(read_file(kModel + "/config.json"));
  config["eos_token_id"] = 383;
  folder.file("config.json", config.dump());
  const auto interrupt = [](pid_t child) {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    kill(child, SIGINT);
  };
  const ProgramResult result = generate(
      {"--model", folder.path(), "--prompt", "So", "--sliding", "--max-new-tokens", "2000000000"},
      {.environment = {}, .while_it_runs = interrupt});
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_TRUE(result.out.starts_with("So")) << result.out.substr(0, 99);
  EXPECT_TRUE(result.out.ends_with("\n"));
  EXPECT_NE(result.error.find("tokens/s"), std::string::npos) << result.error;
}

TEST(GenerateProgram, BadInputGetsOneClearLine) {
  const TemporaryFolder folder;
  expect_failure(generate({}), 2, "there is no prompt: --prompt TEXT or --prompts FILE");
  expect_failure(run_strobe({"generate", "--prompt", "x"}), 2, "--model is missing");
  expect_failure(generate({"--prompt", "x", "--temperature", "-1"}), 2, "at least 0");
  expect_failure(generate({"--prompt", "x", "--top-p", "0"}), 2, "--top-p is '0'");
  expect_failure(generate({"--prompt", "x", "--top-p", "1.5"}), 2, "--top-p is '1.5'");
  expect_failure(generate({"--prompt", "x", "--top-k", "-1"}), 2, "--top-k is '-1'");
  expect_failure(generate({"--prompt", "x", "--max-new-tokens", "0"}), 2, "from 1 to 2147483647");
  expect_failure(generate({"--prompt", "x", "--max-new-tokens", "9223372036854775807"}), 2,
                 "2147483647");
  expect_failure(generate({"--prompt", "x", "--dtype", "i8"}), 2, "f32|bf16|f16");
  expect_failure(generate({"--prompt", "x", "--attention", "none"}), 2, "allowed are any");
  expect_failure(generate({"--prompt", "x", "--attention", "any,flash"}), 2, "allowed is one");
  expect_failure(generate({"--prompts", "/nonexistent"}), 1, "cannot open '/nonexistent'");
  expect_failure(generate({"--prompts", folder.file("empty", "")}), 1, "is empty");
  expect_failure(generate({"--prompt", "x", "--model", "no/such"}), 1, "strobe fetch no/such");
  expect_failure(generate({"--prompt", "The quick", "--max-new-tokens", "58"}), 1,
                 "has 7 tokens and 58 new ones were asked for, together 65, allowed are up to "
                 "n_positions = 64");
  expect_failure(generate({"--prompt", std::string(1000, 'x')}), 1, "has 1000 tokens");
  folder.file("config.json", R"({"model_type": "llama"})");
  expect_failure(generate({"--prompt", "x", "--model", folder.path()}), 1, "\"llama\"");
}

TEST(GenerateProgram, BenchMeasuresAndWritesRows) {
  const TemporaryFolder folder;
  const std::string rows = folder.path() + "/rows.jsonl";
  const ProgramResult result =
      run_strobe({"bench",           "generate", "--n-layer",    "1",
                  "--n-embd",        "32",       "--n-head",     "2",
                  "--n-positions",   "64",       "--vocab-size", "300",
                  "--prompt-tokens", "9",        "--new-tokens", "8",
                  "--batches",       "1,3",      "--attention",  "standard,flash",
                  "--runs",          "2",        "--json",       rows});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  const std::vector<Json> benches = rows_of(rows, "bench");
  ASSERT_EQ(benches.size(), 12U);
  for (const Json& row : benches) {
    EXPECT_EQ(row.at("op"), "generate");
    for (const char* field : {"prefill_ms", "token_ms", "tokens_per_s", "weight_gb_per_s",
                              "read_gb_per_s", "cache_bytes", "peak_total_bytes"}) {
      EXPECT_GT(row.at(field).get<double>(), 0) << field;
    }
    EXPECT_GE(row.at("token_ms_std").get<double>(), 0);
  }
  EXPECT_EQ(benches[0].at("dtype"), "f32");
  EXPECT_EQ(benches[11].at("batch"), 3);
  const ProgramResult loaded =
      run_strobe({"bench", "generate", "--model", kModel, "--prompt-tokens", "9", "--new-tokens",
                  "8", "--dtypes", "f16", "--runs", "1", "--no-cache"});
  EXPECT_EQ(loaded.exit_code, 0) << loaded.error;
  expect_failure(run_strobe({"bench", "generate", "--dtypes", "i8"}), 2, "f32, bf16 and f16");
  expect_failure(run_strobe({"bench", "generate", "--batches", "0"}), 2, "from 1 to 4096");
}

}  // namespace
}  // namespace strobe::testing
