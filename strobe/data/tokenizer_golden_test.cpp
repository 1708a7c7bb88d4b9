// The tokens of Hugging Face's `tokenizers`, by the files of tools/make_tokenizer_golden.py.
#include <gtest/gtest.h>

#include "strobe/core/json.h"
#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/bpe_trainer.h"
#include "strobe/data/token_batch.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using Ids = std::vector<int32_t>;

std::string golden(const std::string& name) {
  const std::string path = STROBE_SOURCE_DIR "/tests/golden/tokenizer/" + name;
  const std::string content = testing::content_of(path);
  EXPECT_FALSE(content.empty()) << path;
  return content;
}

SortedJson golden_json(const std::string& name) { return SortedJson::parse(golden(name)); }

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// The tokenizer as each of the two kinds of files gives it.
std::vector<std::unique_ptr<BpeTokenizer>> golden_tokenizers() {
  std::vector<std::unique_ptr<BpeTokenizer>> all;
  all.push_back(std::make_unique<BpeTokenizer>(parse_tokenizer_json(golden("tokenizer.json"))));
  all.push_back(std::make_unique<BpeTokenizer>(
      parse_vocab_and_merges(golden("vocab.json"), golden("merges.txt"))));
  return all;
}

TEST(TokenizerGoldenTest, EveryTextHasTheSameTokens) {
  const SortedJson cases = golden_json("cases.json");
  ASSERT_GT(cases.size(), 3000u);
  for (const auto& tokenizer : golden_tokenizers()) {
    for (const SortedJson& one : cases) {
      const std::string text = one[0];
      const Ids ids = tokenizer->encode(text);
      EXPECT_EQ(ids, one[1].get<Ids>()) << one[0];
      EXPECT_EQ(tokenizer->decode(ids), text) << one[0];
    }
  }
}

TEST(TokenizerGoldenTest, BytesThatAreNotUtf8ComeBack) {
  for (const auto& tokenizer : golden_tokenizers()) {
    for (const SortedJson& one : golden_json("invalid.json")) {
      const std::string bytes = bytes_of_hex(one[0]);
      const Ids ids = tokenizer->encode(bytes, SpecialNames::text);
      EXPECT_EQ(ids, one[1].get<Ids>()) << one[0];
      EXPECT_EQ(tokenizer->decode(ids), bytes) << one[0];
    }
  }
}

TEST(TokenizerGoldenTest, AnyTokensDecode) {
  const auto tokenizers = golden_tokenizers();
  for (const SortedJson& one : golden_json("decode.json")) {
    const Ids ids = one["ids"];
    for (const auto& tokenizer : tokenizers) {
      EXPECT_EQ(tokenizer->decode(ids), one["text"].get<std::string>()) << one;
      EXPECT_EQ(tokenizer->decode_without_special(ids), one["without_special"].get<std::string>())
          << one;
    }
  }
}

TEST(TokenizerGoldenTest, AddedTokensOfEveryKind) {
  const BpeTokenizer tokenizer(parse_tokenizer_json(golden("added_tokenizer.json")));
  for (const SortedJson& one : golden_json("added.json")) {
    const std::string text = one["text"];
    EXPECT_EQ(tokenizer.encode(text), one["ids"].get<Ids>()) << one["text"];
    EXPECT_EQ(tokenizer.encode(text, SpecialNames::text), one["special_as_text"].get<Ids>())
        << one["text"];
  }
}

TEST(TokenizerGoldenTest, BatchesAreCutAndFilledUp) {
  const auto side = [](const SortedJson& word) {
    return word == "left" ? Side::left : Side::right;
  };
  const auto tokenizer = std::move(golden_tokenizers()[0]);
  const SortedJson cases = golden_json("batches.json");
  ASSERT_GT(cases.size(), 20u);
  for (const SortedJson& one : cases) {
    const TokenBatch batch = encode_batch(*tokenizer, one["texts"].get<std::vector<std::string>>(),
                                          {.longest = one["longest"],
                                           .cut = side(one["cut"]),
                                           .length = one["length"],
                                           .multiple = one["multiple"],
                                           .padding = side(one["padding"]),
                                           .padding_token = one["padding_token"].get<int32_t>()});
    Ids tokens, real;
    for (const SortedJson& row : one["tokens"]) {
      for (const SortedJson& token : row) tokens.push_back(token);
    }
    for (const SortedJson& row : one["real"]) {
      for (const SortedJson& is_real : row) real.push_back(is_real);
    }
    Ids our_real(tokens.size());
    for (size_t row = 0; row < batch.begin.size(); ++row) {
      const auto begin = our_real.begin() + static_cast<int64_t>(row) * batch.seq;
      std::fill(begin + batch.begin[row], begin + batch.end[row], 1);
    }
    EXPECT_EQ(batch.tokens, tokens) << one;
    EXPECT_EQ(our_real, real) << one;
  }
}

// The ids of that library are ours and one: its end of text comes first.
TEST(TokenizerGoldenTest, TheSameTextGivesTheSameVocabulary) {
  const std::string text = golden("text.txt");
  WordCounts words;
  ASSERT_TRUE(words.add(std::string_view(text)));
  const BpeVocabulary ours = train_bpe(words, {.vocab_size = 1500});
  const BpeVocabulary theirs = parse_tokenizer_json(golden("tokenizer.json"));
  ASSERT_EQ(ours.tokens.size(), 1500u);
  for (size_t i = 0; i < 1499; ++i) {
    ASSERT_EQ(ours.tokens[i].name, theirs.tokens[i + 1].name) << i;
  }
  ASSERT_EQ(ours.merges.size(), theirs.merges.size());
  for (size_t i = 0; i < ours.merges.size(); ++i) {
    ASSERT_EQ(ours.merges[i].left + 1, theirs.merges[i].left) << i;
    ASSERT_EQ(ours.merges[i].right + 1, theirs.merges[i].right) << i;
  }
  EXPECT_EQ(ours.tokens.back().name, kEndOfTextName);
}

}  // namespace
}  // namespace strobe
