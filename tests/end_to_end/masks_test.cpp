// `strobe masks` as a user meets it: what it says of each mask against brute force, its pictures,
// and its mistakes.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

const std::string kModel = STROBE_SOURCE_DIR "/tests/golden/generation";

class MasksTest : public ::testing::Test {
 protected:
  ProgramResult masks(const std::vector<std::string>& options) {
    std::vector<std::string> all = {"masks", "--heads", "2", "--head-dim", "16", "--out", out_};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all);
  }

  std::string file(const std::string& name) const { return out_ + "/" + name; }

  // The rows of one mask, in their order.
  std::vector<Json> rows(const std::string& kind, const std::string& name) const {
    std::vector<Json> found = rows_of(file("masks.jsonl"), kind);
    std::erase_if(found, [&](const Json& row) { return row.at("name") != name; });
    return found;
  }

  // A pattern's spans against a definition that knows nothing of spans.
  static void expect_pattern(const Json& pattern, int64_t queries, int64_t keys,
                             const std::function<bool(int64_t i, int64_t j)>& sees) {
    ASSERT_EQ(pattern.at("queries"), queries);
    ASSERT_EQ(pattern.at("keys"), keys);
    ASSERT_EQ(pattern.at("spans").size(), static_cast<size_t>(queries));
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t begin = pattern["spans"][i][0], end = pattern["spans"][i][1];
      for (int64_t j = 0; j < keys; ++j) {
        ASSERT_EQ(begin <= j && j < end, sees(i, j)) << pattern["name"] << " " << i << ", " << j;
      }
    }
  }

  static int64_t count(int64_t queries, int64_t keys,
                       const std::function<bool(int64_t i, int64_t j)>& sees) {
    int64_t n = 0;
    for (int64_t i = 0; i < queries; ++i) {
      for (int64_t j = 0; j < keys; ++j) n += sees(i, j);
    }
    return n;
  }

  TemporaryFolder folder_;
  std::string out_ = folder_.path() + "/masked";
};

TEST_F(MasksTest, CausalAgainstFull) {
  const ProgramResult result = run_strobe({"masks", "--out", out_});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  for (const char* expected :
       {"q [2,128,12,64], k [2,128,12,64], v [2,128,12,64], out [2,128,12,64], lse [2,12,128]",
        "16384 (100.0%)", "8256 (50.4%)", "largest difference", "mean difference", "masks.jsonl"}) {
    EXPECT_NE(result.out.find(expected), std::string::npos) << expected << "\n" << result.out;
  }
  const Json provenance = read_rows(file("masks.jsonl")).front();
  EXPECT_EQ(provenance.at("command"), "masks");
  EXPECT_EQ(provenance.at("options").at("head_dim"), 64);

  const Json causal = rows("mask", "causal").at(0);
  EXPECT_EQ(causal.at("visible"), Json({8256, 8256}));
  EXPECT_EQ(causal.at("baseline"), "full");
  EXPECT_LT(causal.at("probability_sum_error"), 1e-5);
  const Json& by_query = causal.at("mean_difference_by_query");
  ASSERT_EQ(by_query.size(), 128u);
  EXPECT_GT(by_query[0], 0.3) << "the first query sees one key instead of all";
  EXPECT_LT(by_query[127], 1e-6) << "the last query sees all keys under both";
  double sum = 0;
  for (const Json& value : by_query) sum += value.get<double>();
  EXPECT_NEAR(sum / 128, causal.at("mean_difference"), 1e-9);
  EXPECT_GT(causal.at("max_difference"), causal.at("mean_difference"));
  if (has_gnuplot()) {
    EXPECT_GT(fs::file_size(file("masks.png")), 20'000u);
    const std::string text = content_of(file("masks.svg"));
    EXPECT_NE(text.find("Key position"), std::string::npos);
    EXPECT_NE(text.find("Query position"), std::string::npos);
  }
}

TEST_F(MasksTest, PatternsAreWhatTheMasksMean) {
  constexpr int64_t kQueries = 37, kKeys = 53, kOffset = kKeys - kQueries;
  ASSERT_EQ(masks({"--seq", "37", "--seq-k", "53", "--window", "9,3", "--batch", "3",
                   "--key-length", "20,53,20"})
                .exit_code,
            0);
  const auto full = [](int64_t, int64_t) { return true; };
  const auto causal = [](int64_t i, int64_t j) { return j <= i + kOffset; };
  const auto window = [](int64_t i, int64_t j) {
    return j >= i + kOffset - 9 && j <= i + kOffset + 3;
  };
  const auto padded = [&](int64_t i, int64_t j) { return causal(i, j) && j < 20; };
  expect_pattern(rows("mask_pattern", "full").at(0), kQueries, kKeys, full);
  expect_pattern(rows("mask_pattern", "causal").at(0), kQueries, kKeys, causal);
  expect_pattern(rows("mask_pattern", "window 9,3").at(0), kQueries, kKeys, window);
  const std::vector<Json> both = rows("mask_pattern", "causal, padded");
  ASSERT_EQ(both.size(), 2u) << "sequences of one length share a pattern";
  expect_pattern(both[0], kQueries, kKeys, padded);
  expect_pattern(both[1], kQueries, kKeys, causal);

  const int64_t few = count(kQueries, kKeys, padded), all = count(kQueries, kKeys, causal);
  EXPECT_EQ(rows("mask", "causal, padded").at(0).at("visible"), Json({few, all, few}));
  EXPECT_EQ(rows("mask", "window 9,3").at(0).at("visible")[0], count(kQueries, kKeys, window));
}

TEST_F(MasksTest, LeftPadding) {
  ASSERT_EQ(masks({"--seq", "24", "--key-length", "10", "--left-padding", "--attention", "standard",
                   "--dtype", "bf16"})
                .exit_code,
            0);
  expect_pattern(rows("mask_pattern", "causal, padded").at(0), 24, 24,
                 [](int64_t i, int64_t j) { return j <= i && j >= 14; });
  const Json row = rows("mask", "causal, padded").at(0);
  EXPECT_NE(row.at("attention_impl").get<std::string>().find("cpu_standard"), std::string::npos);
  EXPECT_LT(row.at("probability_sum_error"), 1e-5);
}

TEST_F(MasksTest, SeedsRepeat) {
  ASSERT_EQ(masks({"--seq", "16", "--seed", "7"}).exit_code, 0);
  const double first = rows("mask", "causal").at(0).at("max_difference");
  ASSERT_EQ(masks({"--seq", "16", "--seed", "7"}).exit_code, 0);
  EXPECT_EQ(rows("mask", "causal").at(0).at("max_difference"), first);
  ASSERT_EQ(masks({"--seq", "16", "--seed", "8"}).exit_code, 0);
  EXPECT_NE(rows("mask", "causal").at(0).at("max_difference"), first);
}

TEST_F(MasksTest, MistakesAreOneLine) {
  const auto expect = [&](const std::vector<std::string>& options, int exit_code,
                          const std::string& text) {
    const ProgramResult result = masks(options);
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_FALSE(fs::exists(out_)) << "nothing is written";
  };
  expect({"--seq", "0"}, 2, "--seq is '0', allowed is a whole number from 1 to 16384");
  expect({"--window", "3"}, 2, "--window is '3', allowed is LEFT,RIGHT such as 32,0");
  expect({"--window", "3,-1"}, 2, "--window has '-1', allowed is a whole number from 0 to 16384");
  expect({"--window", "3,1x"}, 2, "--window has '1x', allowed is a whole number");
  expect({"--key-length", "129"}, 2,
         "--key-length has '129', allowed is a whole number from 0 to 128");
  expect({"--key-length", "1,2,3"}, 2,
         "--key-length has 3 lengths, allowed are 1 and one for each of 2 sequences");
  expect({"--left-padding"}, 2, "--left-padding needs --key-length");
  expect({"--attention", "flesh"}, 2, "attention is 'flesh', allowed are any, standard, flash");
  expect({"--head-dim", "12"}, 1, "head_dim");
  expect({"--kv-heads", "5"}, 1, "heads");
}

TEST_F(MasksTest, AModelsAttention) {
  const ProgramResult result =
      run_strobe({"masks", "--model", kModel, "--prompt", "the first\nof all", "--layer", "1",
                  "--head", "2", "--out", out_});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const Json map = rows_of(file("attention.jsonl"), "attention_map").at(0);
  EXPECT_EQ(map.at("layer"), 1);
  EXPECT_EQ(map.at("head"), 2);
  std::string text;
  for (const Json& token : map.at("tokens")) text += token.get<std::string>();
  EXPECT_EQ(text, "the first\nof all");
  const Json& p = map.at("probabilities");
  ASSERT_EQ(p.size(), map.at("tokens").size());
  for (size_t i = 0; i < p.size(); ++i) {
    ASSERT_EQ(p[i].size(), i + 1) << "a token and those before it";
    double sum = 0;
    for (const Json& value : p[i]) sum += value.get<double>();
    EXPECT_NEAR(sum, 1, 1e-5);
  }
  EXPECT_NE(result.out.find("Attention of layer 1, head 2"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("attends most to"), std::string::npos) << result.out;
  if (has_gnuplot()) {
    EXPECT_GT(fs::file_size(file("attention.png")), 20'000u);
    EXPECT_NE(content_of(file("attention.svg")).find("Query position"), std::string::npos);
  }

  // Both algorithms, and 16-bit weights to their rounding.
  const auto last_row = [&](const std::vector<std::string>& options) {
    std::vector<std::string> all = {"masks",   "--model", kModel,   "--prompt", "the first\nof all",
                                    "--layer", "1",       "--head", "2",        "--out",
                                    out_};
    all.insert(all.end(), options.begin(), options.end());
    EXPECT_EQ(run_strobe(all).exit_code, 0);
    return rows_of(file("attention.jsonl"), "attention_map").at(0).at("probabilities").back();
  };
  const Json standard = last_row({"--attention", "standard"});
  const Json rounded = last_row({"--dtype", "bf16"});
  for (size_t j = 0; j < p.size(); ++j) {
    EXPECT_NEAR(standard[j].get<double>(), p.back()[j].get<double>(), 2e-6);
    EXPECT_NEAR(rounded[j].get<double>(), p.back()[j].get<double>(), 0.05);
  }
}

TEST_F(MasksTest, MistakesWithAModelAreOneLine) {
  const auto expect = [&](const std::vector<std::string>& options, int exit_code,
                          const std::string& text) {
    std::vector<std::string> all = {"masks", "--out", out_};
    all.insert(all.end(), options.begin(), options.end());
    const ProgramResult result = run_strobe(all);
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
  };
  expect({"--prompt", "x"}, 2, "--prompt needs --model");
  expect({"--layer=1"}, 2, "--layer needs --model");
  expect({"--model", kModel}, 2, "--model needs --prompt");
  expect({"--model", kModel, "--prompt", "x", "--seq", "8"}, 2, "--seq does not go with --model");
  expect({"--model", kModel, "--prompt", "x", "--layer", "99"}, 1, "layer 99, allowed is 0 to");
  expect({"--model", kModel, "--prompt", "x", "--head", "99"}, 1, "head 99, allowed is 0 to");
  expect({"--model", "/missing", "--prompt", "x"}, 1, "/missing");
  expect({"--model", kModel, "--prompt", std::string(9000, 'x')}, 1, "n_positions");
}

TEST_F(MasksTest, WithoutGnuplotTheResultsAreThere) {
  const ProgramResult result =
      run_strobe({"masks", "--seq", "8", "--out", out_}, {.environment = {"PATH=/nonexistent"}});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.error.find("strobe: warning: no pictures: gnuplot is not installed"),
            std::string::npos)
      << result.error;
  EXPECT_EQ(rows("mask", "causal").size(), 1u);
}

}  // namespace
}  // namespace strobe::testing
