// `strobe tokenizer` and training on its tokens, as a user meets them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "strobe/core/check.h"
#include "strobe/data/token_file.h"
#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

std::string some_text() {
  std::string text;
  for (int line = 0; line < 400; ++line) {
    text += fmt::format("Line {} of a text: it's short, 你好, and \xff is no UTF-8.\n", line);
  }
  return text;
}

class TokenizerCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const ProgramResult trained =
        run_strobe({"tokenizer", "train", "--vocab-size", "300", "--out", tokenizer_, text_});
    ASSERT_EQ(trained.exit_code, 0) << trained.error;
    EXPECT_NE(trained.out.find("vocabulary  300 tokens, 43 merges"), std::string::npos)
        << trained.out;
  }

  ProgramResult train(const std::vector<std::string>& options) const {
    std::vector<std::string> all = {"train", "--n-layer", "1", "--n-embd", "32", "--n-head",
                                    "2",     "--batch",   "2", "--seq",    "32", "--steps",
                                    "3",     "--warmup",  "0", "--out",    run_};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all);
  }

  // The run failed with this exit code, and its message is one line with this text.
  static void expect_failure(const ProgramResult& result, int exit_code, const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_TRUE(result.error.starts_with("strobe: ")) << result.error;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
  }

  TemporaryFolder folder_;
  std::string content_ = some_text();
  std::string text_ = folder_.file("text", content_);
  std::string tokenizer_ = folder_.path() + "/tokenizer";
  std::string tokens_ = folder_.path() + "/new/text.tokens";
  std::string run_ = folder_.path() + "/run";
};

TEST_F(TokenizerCommandTest, TextBecomesTokensAndComesBack) {
  const ProgramResult encoded = run_strobe(
      {"tokenizer", "encode", "--tokenizer", tokenizer_, "--out", tokens_, text_, text_});
  ASSERT_EQ(encoded.exit_code, 0) << encoded.error;
  EXPECT_NE(encoded.out.find("file    " + tokens_), std::string::npos) << encoded.out;
  const ProgramResult decoded =
      run_strobe({"tokenizer", "decode", "--tokenizer", tokenizer_, tokens_});
  EXPECT_EQ(decoded.exit_code, 0) << decoded.error;
  EXPECT_EQ(decoded.out, content_ + "<|endoftext|>" + content_);
  const std::string back = folder_.path() + "/back";
  EXPECT_EQ(
      run_strobe({"tokenizer", "decode", "--tokenizer", tokenizer_, "--out", back, tokens_}).out,
      "");
  EXPECT_EQ(content_of(back), decoded.out);
}

TEST_F(TokenizerCommandTest, ShowPrintsTokens) {
  const ProgramResult shown =
      run_strobe({"tokenizer", "show", "--tokenizer", tokenizer_, "Line<|endoftext|>\n"});
  EXPECT_EQ(shown.exit_code, 0) << shown.error;
  EXPECT_NE(shown.out.find("\"Line\"\n"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("     299  \"<|endoftext|>\"\n"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("\"\\n\"\n"), std::string::npos) << shown.out;
}

TEST_F(TokenizerCommandTest, TrainingOnTextAndOnItsTokensIsTheSame) {
  const auto losses = [&](const std::string& data) {
    const ProgramResult result = train({"--tokenizer", tokenizer_, "--data", data});
    EXPECT_EQ(result.exit_code, 0) << result.error;
    std::vector<double> values;
    for (const Json& row : rows_of(run_ + "/metrics.jsonl", "step")) {
      values.push_back(row.at("loss"));
    }
    return values;
  };
  const std::vector<double> of_text = losses(text_);
  ASSERT_EQ(of_text.size(), 3u);
  const Json options = read_rows(run_ + "/metrics.jsonl").front().at("options");
  EXPECT_EQ(options.at("vocab_size"), 300) << "the tokenizer's";
  ASSERT_EQ(run_strobe({"tokenizer", "encode", "--tokenizer", tokenizer_, "--out", tokens_, text_})
                .exit_code,
            0);
  EXPECT_EQ(losses(tokens_), of_text);
}

TEST_F(TokenizerCommandTest, ATextIsEncodedOnce) {
  const std::string encoded = run_ + "/data.tokens";
  const ProgramResult first = train({"--tokenizer", tokenizer_, "--data", text_});
  EXPECT_NE(first.error.find("encoding '" + text_ + "'"), std::string::npos) << first.error;
  const auto written = fs::last_write_time(encoded);
  const ProgramResult second = train({"--tokenizer", tokenizer_, "--data", text_});
  EXPECT_EQ(second.error.find("encoding"), std::string::npos) << second.error;
  EXPECT_EQ(fs::last_write_time(encoded), written);
  folder_.file("text", content_ + "more\n");
  EXPECT_NE(train({"--tokenizer", tokenizer_, "--data", text_}).error.find("encoding"),
            std::string::npos);
  fs::resize_file(encoded, 100);
  EXPECT_EQ(train({"--tokenizer", tokenizer_, "--data", text_}).exit_code, 0) << "made anew";
}

TEST_F(TokenizerCommandTest, LinesAndALargerVocabulary) {
  const ProgramResult result =
      train({"--tokenizer", tokenizer_, "--data", text_, "--batching", "padded", "--vocab-size",
             "512", "--save-model", run_ + "/model"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_FALSE(fs::exists(run_ + "/data.tokens"));
  const Json config = Json::parse(content_of(run_ + "/model/config.json"));
  EXPECT_EQ(config.at("vocab_size"), 512);
  EXPECT_EQ(config.at("eos_token_id"), 299) << "the tokenizer's end of text";
  EXPECT_EQ(content_of(run_ + "/model/vocab.json"), content_of(tokenizer_ + "/vocab.json"));
}

TEST_F(TokenizerCommandTest, MistakesGetOneLine) {
  expect_failure(run_strobe({"tokenizer", "encdoe"}), 2,
                 "tokenizer 'encdoe', allowed are train, encode, decode and show");
  expect_failure(run_strobe({"tokenizer", "encode", text_}), 2, "--tokenizer DIR is missing");
  expect_failure(run_strobe({"tokenizer", "train", "--vocab-size", "256", text_}), 2,
                 "--vocab-size is '256', allowed is");
  expect_failure(run_strobe({"tokenizer", "train", "--out", run_, text_ + "no"}), 1,
                 "textno': No such file");
  expect_failure(run_strobe({"tokenizer", "show", "--tokenizer", folder_.path(), "a"}), 1,
                 "has no tokenizer");
  expect_failure(run_strobe({"tokenizer", "decode", "--tokenizer", tokenizer_, text_}), 1,
                 "it does not begin as a token file does");
  expect_failure(
      run_strobe({"tokenizer", "encode", "--tokenizer", tokenizer_, "--out", "/proc/x", text_}), 1,
      "cannot write '/proc/x'");
}

TEST_F(TokenizerCommandTest, TokensOfAnotherVocabularyAreRefused) {
  const std::string other = folder_.path() + "/other";
  save_tokenizer(ByteTokenizer(), other);
  ASSERT_EQ(
      run_strobe({"tokenizer", "encode", "--tokenizer", other, "--out", tokens_, text_}).exit_code,
      0);
  expect_failure(run_strobe({"tokenizer", "decode", "--tokenizer", tokenizer_, tokens_}), 1,
                 "was made by another tokenizer than");
  expect_failure(train({"--tokenizer", tokenizer_, "--data", tokens_}), 1,
                 "was made by another tokenizer than");
  expect_failure(train({"--data", tokens_}), 1, "name the tokenizer that made it with --tokenizer");
  expect_failure(train({"--tokenizer", other, "--data", tokens_, "--batching", "padded"}), 1,
                 "batching padded needs a text");
}

}  // namespace
}  // namespace strobe::testing
