// Byte-level BPE: merges, added tokens, the readers of its files, and what they refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "strobe/core/json.h"
#include "strobe/core/parallel.h"
#include "strobe/core/random.h"
#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/bpe_trainer.h"
#include "strobe/data/encode_text.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using testing::error_of;
using testing::TemporaryFolder;
using Ids = std::vector<int32_t>;

// The bytes and the end of text, then these merges, each "left right" of tokens that are there.
BpeVocabulary vocabulary_of(const std::vector<std::pair<std::string, std::string>>& merges) {
  BpeVocabulary vocabulary;
  const auto add = [&](const std::string& name) {
    const auto id = static_cast<int32_t>(vocabulary.tokens.size());
    vocabulary.tokens.push_back({name, id});
    return id;
  };
  const auto id_of = [&](const std::string& name) {
    return std::ranges::find(vocabulary.tokens, name, &BpeVocabulary::Token::name)->id;
  };
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    add(bpe_name({&c, 1}));
  }
  vocabulary.added.push_back(
      {.content = std::string(kEndOfTextName), .id = add(std::string(kEndOfTextName))});
  for (const auto& [left, right] : merges) {
    vocabulary.merges.push_back({id_of(left), id_of(right)});
    add(left + right);
  }
  return vocabulary;
}

BpeTokenizer tokenizer_of(const std::vector<std::pair<std::string, std::string>>& merges) {
  return BpeTokenizer(vocabulary_of(merges));
}

// A vocabulary of some size, learned from a text of few letters.
std::string letters(size_t size, uint32_t seed) {
  std::string text;
  for (uint32_t i = 0; text.size() < size; ++i) {
    const uint32_t draw = philox({{i, 0, 0, 0}}, random_key(seed, 0, 0)).word[0];
    text += "aaabbcde \n'1"[draw % 12];
  }
  return text;
}

BpeVocabulary learned_vocabulary() {
  WordCounts words;
  words.add(std::string_view(letters(20'000, 1)));
  return train_bpe(words, {.vocab_size = 400});
}

TEST(BpeNameTest, EveryByteHasACharacter) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  EXPECT_EQ(bytes_of_bpe_name(bpe_name(bytes)), bytes);
  EXPECT_EQ(bpe_name(" a\n\x7f\xff"), "ĠaĊġÿ");
  for (const char* name : {" ", "a b", "字", "\u0144", "\xc4", "\xff"}) {
    EXPECT_FALSE(bytes_of_bpe_name(name)) << name;
  }
}

TEST(BpeTest, MergesTheFirstRuleFirstAndTheLeftmostPlaceFirst) {
  const BpeTokenizer tokenizer = tokenizer_of({{"a", "b"}, {"b", "c"}, {"a", "a"}});
  const auto names = [&](std::string_view text) {
    std::string joined;
    for (const int32_t id : tokenizer.encode(text)) {
      joined += std::string(tokenizer.bytes_of(id)) + "|";
    }
    return joined;
  };
  EXPECT_EQ(names("abc"), "ab|c|");
  EXPECT_EQ(names("bbc"), "b|bc|");
  EXPECT_EQ(names("aaa"), "aa|a|");
  EXPECT_EQ(names("aaab"), "aa|ab|");
  EXPECT_EQ(names("a b"), "a| |b|") << "not across words";
}

// The definition, in its plainest form.
Ids merge_by_definition(const BpeVocabulary& vocabulary, Ids ids) {
  const auto result_of = [&](const BpeVocabulary::Merge& merge) {
    const std::string name = vocabulary.tokens[static_cast<size_t>(merge.left)].name +
                             vocabulary.tokens[static_cast<size_t>(merge.right)].name;
    return std::ranges::find(vocabulary.tokens, name, &BpeVocabulary::Token::name)->id;
  };
  while (true) {
    bool is_merged = false;
    for (const BpeVocabulary::Merge& merge : vocabulary.merges) {
      for (size_t i = 0; i + 1 < ids.size() && !is_merged; ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = result_of(merge);
        ids.erase(ids.begin() + static_cast<int64_t>(i) + 1);
        is_merged = true;
      }
      if (is_merged) break;
    }
    if (!is_merged) return ids;
  }
}

TEST(BpeTest, ShortAndLongWordsFollowTheDefinition) {
  const BpeVocabulary vocabulary = learned_vocabulary();
  const BpeTokenizer tokenizer(vocabulary);
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::string word = letters(10 + 4 * seed, 100 + seed);  // 10 to 246: both ways to merge
    std::erase_if(word, [](char c) { return c < 'a'; });
    Ids bytes;
    for (const char c : word) bytes.push_back(vocabulary.tokens[static_cast<size_t>(c - '!')].id);
    EXPECT_EQ(tokenizer.encode(word), merge_by_definition(vocabulary, bytes)) << word;
    EXPECT_EQ(tokenizer.encode(word), tokenizer.encode(word)) << "from the cache";
  }
}

TEST(BpeTest, AMillionOfOneLetterTakesNoTime) {
  const BpeTokenizer tokenizer = tokenizer_of({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}});
  const std::string text(1'000'000, 'a');
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 125'000u);
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(BpeTest, SpecialTokens) {
  const BpeTokenizer tokenizer = tokenizer_of({{"a", "b"}});
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(tokenizer.end_of_text(), 256);
  const Ids ids = tokenizer.encode("ab<|endoftext|>ab");
  EXPECT_EQ(ids, (Ids{257, 256, 257}));
  EXPECT_EQ(tokenizer.decode(ids), "ab<|endoftext|>ab");
  EXPECT_EQ(tokenizer.decode_without_special(ids), "abab");
  EXPECT_EQ(tokenizer.encode("<|endoftext|>", SpecialNames::text).size(), 13u);
  EXPECT_EQ(error_of([&] { tokenizer.decode(Ids{258}); }), "token 258, allowed is 0 to 257");
  EXPECT_EQ(error_of([&] { tokenizer.decode(Ids{-1}); }), "token -1, allowed is 0 to 257");
  BpeVocabulary without = vocabulary_of({});
  without.added.clear();
  EXPECT_EQ(error_of([&] { BpeTokenizer(without).end_of_text(); }),
            "the tokenizer has no token <|endoftext|> to end a text with");
}

TEST(BpeTest, APrefixSpaceIsPutBeforeEveryText) {
  BpeVocabulary vocabulary = vocabulary_of({{"Ġ", "a"}});
  vocabulary.adds_prefix_space = true;
  const BpeTokenizer tokenizer(vocabulary);
  EXPECT_EQ(tokenizer.encode("a<|endoftext|>a"), (Ids{257, 256, 257}));
  EXPECT_EQ(tokenizer.encode(" a"), (Ids{257}));
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(BpeTest, IdsMayBeMissing) {
  const ByteTokenizer bytes(1000);  // 0 to 255, and 999
  const std::vector<Tokenizer::File> files = bytes.files();
  const BpeTokenizer tokenizer(parse_tokenizer_json(files[0].content));
  EXPECT_EQ(tokenizer.vocab_size(), 1000);
  EXPECT_EQ(tokenizer.end_of_text(), 999);
  EXPECT_EQ(tokenizer.decode(Ids{65, 300, 66, 999}), "AB<|endoftext|>");
  EXPECT_EQ(tokenizer.decode_without_special(Ids{65, 300, 66, 999}), "AB");
}

TEST(BpeTest, ThreadsShareATokenizer) {
  const BpeTokenizer tokenizer(learned_vocabulary());
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) result = tokenizer.encode(letters(5000, 3));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, tokenizer.encode(letters(5000, 3)));
}

TEST(EncodeTextTest, PartsGiveTheTokensOfTheWhole) {
  const BpeTokenizer bpe(learned_vocabulary());
  const ByteTokenizer bytes;
  std::string text = letters(900'000, 5);
  for (size_t at = 999; at < text.size(); at += 10'007) text.insert(at, kEndOfTextName);
  text += std::string(400'000, 'a');  // a word longer than a part
  for (const Tokenizer* tokenizer :
       {static_cast<const Tokenizer*>(&bpe), static_cast<const Tokenizer*>(&bytes)}) {
    for (const SpecialNames special : {SpecialNames::tokens, SpecialNames::text}) {
      Ids ids;
      int64_t last = 0;
      EXPECT_TRUE(encode_text(
          *tokenizer, std::string_view(text), special,
          [&](std::span<const int32_t> part) { ids.insert(ids.end(), part.begin(), part.end()); },
          [&](int64_t done) {
            last = done;
            return true;
          }));
      EXPECT_EQ(ids, tokenizer->encode(text, special));
      EXPECT_EQ(last, static_cast<int64_t>(text.size()));
    }
  }
  EXPECT_FALSE(encode_text(
      bpe, std::string_view(text), SpecialNames::tokens, [](std::span<const int32_t>) {},
      [](int64_t) { return false; }));
}

// Wherever a text is cut, with special tokens around the cut in every position.
TEST(EncodeTextTest, ATextIsCutOnlyWhereItCanBe) {
  BpeVocabulary vocabulary = learned_vocabulary();
  const auto add = [&](AddedToken token) {
    token.id = static_cast<int32_t>(vocabulary.tokens.size());
    vocabulary.tokens.push_back({token.content, token.id});
    vocabulary.added.push_back(token);
  };
  add({.content = "a b", .id = 0});
  add({.content = "<left>", .id = 0, .strips_left = true});
  add({.content = "<right>", .id = 0, .strips_right = true});
  const BpeTokenizer tokenizer(vocabulary);
  const std::string text =
      "ab  <right>  \n a b a <left> aa<right>\n\nb a b<|endoftext|> <|endo '1 it's  <left><right> ";
  const Ids whole = tokenizer.encode(text);
  int cuts = 0;
  for (size_t from = 1; from < text.size(); ++from) {
    const size_t cut = tokenizer.find_cut(text, from);
    ASSERT_GE(cut, from);
    Ids ids = tokenizer.encode(std::string_view(text).substr(0, cut));
    tokenizer.encode_to(std::string_view(text).substr(cut), SpecialNames::tokens, ids);
    EXPECT_EQ(ids, whole) << "cut at " << cut;
    cuts += cut == from;
  }
  EXPECT_GT(cuts, 5);
}

TEST(BpeTrainerTest, LearnsWhatIsMostFrequent) {
  WordCounts words;
  words.add(std::string_view("low lower lowest low<|endoftext|>low"));
  EXPECT_EQ(words.counts().at(" low"), 1);
  EXPECT_EQ(words.counts().at("low"), 2);
  const BpeVocabulary vocabulary = train_bpe(words, {.vocab_size = 259});
  ASSERT_EQ(vocabulary.merges.size(), 2u);
  EXPECT_EQ(vocabulary.tokens[256].name, "lo");
  EXPECT_EQ(vocabulary.tokens[257].name, "low");
  EXPECT_EQ(vocabulary.tokens[258].name, kEndOfTextName);
  EXPECT_EQ(train_bpe(words, {.vocab_size = 9999, .min_count = 3}).tokens.size(), 260u)
      << "lo, low, Ġlow come three times";
  EXPECT_TRUE(train_bpe(words, {.vocab_size = 300, .progress = [](int64_t) { return false; }})
                  .tokens.empty());
  EXPECT_EQ(error_of([&] { train_bpe(words, {.vocab_size = 256}); }),
            "vocab_size is 256, allowed is at least 257: the bytes and the end of text");
}

TEST(BpeTrainerTest, IsTheSameOnAnyNumberOfThreads) {
  const std::string text = letters(3'000'000, 9);
  std::vector<BpeVocabulary> vocabularies;
  const int threads = thread_count();
  for (const int n : {1, 2, 3}) {
    set_thread_count(n);
    WordCounts words;
    words.add(std::string_view(text));
    vocabularies.push_back(train_bpe(words, {.vocab_size = 700}));
  }
  set_thread_count(threads);
  EXPECT_EQ(vocabularies[0], vocabularies[1]);
  EXPECT_EQ(vocabularies[0], vocabularies[2]);
}

// A tokenizer.json of the bytes and "ab", with one thing in it replaced.
std::string tokenizer_json(const std::string& old_text = "", const std::string& new_text = "") {
  std::string text = bpe_files(vocabulary_of({{"a", "b"}}))[0].content;
  const size_t at = text.find(old_text);
  EXPECT_NE(at, text.npos) << old_text;
  return text.replace(at, old_text.size(), new_text);
}

TEST(BpeFilesTest, ComeBackAsTheyWere) {
  BpeVocabulary vocabulary = learned_vocabulary();
  const std::vector<Tokenizer::File> files = bpe_files(vocabulary);
  EXPECT_EQ(parse_tokenizer_json(files[0].content), vocabulary);
  EXPECT_EQ(parse_vocab_and_merges(files[1].content, files[2].content), vocabulary);
  vocabulary.adds_prefix_space = true;
  vocabulary.added.push_back({.content = "a \"quoted\"\n字",
                              .id = 5000,
                              .is_special = false,
                              .strips_left = true,
                              .is_normalized = true});
  vocabulary.tokens.push_back({vocabulary.added.back().content, 5000});
  EXPECT_EQ(parse_tokenizer_json(bpe_files(vocabulary)[0].content), vocabulary);
}

TEST(BpeFilesTest, TakesMergesAsTextToo) {
  const BpeVocabulary expected = vocabulary_of({{"a", "b"}});
  EXPECT_EQ(parse_tokenizer_json(tokenizer_json("[\"a\", \"b\"]", "\"a b\"")), expected);
}

// As the tokenizer.json of the published GPT-2 is: older, without some fields, others empty.
TEST(BpeFilesTest, TakesTheLayoutOfThePublishedGpt2) {
  std::string text = tokenizer_json("\"type\": \"BPE\", ", "");
  const auto replace = [&](std::string_view old_text, std::string_view new_text) {
    const size_t at = text.find(old_text);
    ASSERT_NE(at, text.npos) << old_text;
    text.replace(at, old_text.size(), new_text);
  };
  replace("\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"\"");
  replace("\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"\"");
  replace(", \"byte_fallback\": false, \"ignore_merges\": false", "");
  replace(",\"use_regex\":true", "");
  replace("\"normalized\":false", "\"normalized\":true");
  replace("[\"a\", \"b\"]", "\"a b\"");
  BpeVocabulary expected = vocabulary_of({{"a", "b"}});
  expected.added[0].is_normalized = true;
  EXPECT_EQ(parse_tokenizer_json(text), expected);
}

TEST(BpeFilesTest, RefusesOtherTokenizers) {
  const auto error = [](const std::string& old_text, const std::string& new_text) {
    return error_of([&] { parse_tokenizer_json(tokenizer_json(old_text, new_text)); });
  };
  EXPECT_EQ(error("\"type\": \"BPE\"", "\"type\": \"WordPiece\""),
            "the model's type is \"WordPiece\", supported is BPE");
  EXPECT_EQ(error("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}"),
            "'normalizer' is set, GPT-2's tokenizer has none");
  EXPECT_EQ(
      error("\"pre_tokenizer\": {\"type\":\"ByteLevel\"", "\"pre_tokenizer\": {\"type\":\"X\""),
      "'pre_tokenizer' is {\"add_prefix_space\":false,\"trim_offsets\":false,\"type\":\"X\",\"u…; "
      "supported is ByteLevel with use_regex, which is GPT-2's");
  EXPECT_EQ(error("\"decoder\": {", "\"decoder\": [{}], \"x\": {"),
            "'decoder' is [{}], supported is ByteLevel");
  EXPECT_EQ(error("\"dropout\": null", "\"dropout\": 0.1"),
            "the model's 'dropout' is set, GPT-2's tokenizer has none");
  EXPECT_EQ(error("\"post_processor\": {\"type\":\"ByteLevel\"",
                  "\"post_processor\": {\"type\":\"BertProcessing\""),
            "'post_processor' adds tokens to a text, GPT-2's does not");
  EXPECT_EQ(error("\"single_word\":false", "\"single_word\":true"),
            "the added token \"<|endoftext|>\" is a single_word, which is not supported");
}

TEST(BpeFilesTest, SaysWhatIsBroken) {
  const auto error = [](const std::string& old_text, const std::string& new_text) {
    return error_of(
        [&] { BpeTokenizer{parse_tokenizer_json(tokenizer_json(old_text, new_text))}; });
  };
  EXPECT_EQ(error("[\"a\", \"b\"]", "[\"a\", \"bc\"]"),
            "merge 1 is of \"a\" and \"bc\"; \"bc\" is not in the vocabulary");
  EXPECT_EQ(error("[\"a\", \"b\"]", "[\"b\", \"a\"]"),
            "merge 1, 'b' and 'a', gives 'ba', which is not in the vocabulary");
  EXPECT_EQ(error("[\"a\", \"b\"]", "[\"a\"]"), "merge 1 is [\"a\"], not two tokens");
  EXPECT_EQ(error("[\"a\", \"b\"]", "\"a b c\""),
            "merge 1 is \"a b c\", not two tokens and a space between them");
  EXPECT_EQ(error("\"ab\": 257", "\"ab\": 97"), "the tokens \"a\" and \"ab\" have the same id, 97");
  EXPECT_EQ(error("\"ab\": 257", "\"ab\": -1"),
            "the id of token \"ab\" is -1, allowed is a whole number from 0 to 16777215");
  EXPECT_EQ(error("\"ab\": 257", "\"ab\": 4000000000"),
            "the id of token \"ab\" is 4000000000, allowed is a whole number from 0 to 16777215");
  EXPECT_EQ(error("\"ab\": 257", "\"ab\": \"x\""),
            "the id of token \"ab\" is \"x\", allowed is a whole number from 0 to 16777215");
  EXPECT_EQ(error("\"a\": 97", "\"aa\": 97"),
            "merge 1 is of \"a\" and \"b\"; \"a\" is not in the vocabulary");
  EXPECT_EQ(error("\"Z\": 90", "\"ZZ\": 90"),
            "the vocabulary has no token 'Z' for the byte 90; a byte-level BPE has one for each of "
            "the 256");
  EXPECT_EQ(error("\"id\":256", "\"id\":255"),
            "the added token \"<|endoftext|>\" has the id 255, in the vocabulary it is 256");
  EXPECT_EQ(error("\"content\"", "\"contents\""), "an added token has no 'content'");
  EXPECT_EQ(error("\"vocab\"", "\"vocabulary\""), "'model' has no 'vocab'");
  EXPECT_EQ(error_of([] { parse_tokenizer_json("[]"); }), "the tokenizer is [], not an object");
  const std::string cut = tokenizer_json().substr(0, 500);
  EXPECT_NE(error_of([&] { parse_tokenizer_json(cut); }).find("the tokenizer is not JSON: "),
            std::string::npos);
  EXPECT_EQ(error_of([] { parse_vocab_and_merges("{\"a\": 0}", "#version: 0.2\na\n"); }),
            "merge 1 is \"a\", not two tokens and a space between them");
  EXPECT_EQ(error_of([] { parse_vocab_and_merges("3", ""); }),
            "the vocabulary is 3, not an object of tokens and their ids");
}

TEST(TokenizerFolderTest, IsLoadedAsItWasSaved) {
  const TemporaryFolder folder;
  const BpeTokenizer tokenizer(learned_vocabulary());
  save_tokenizer(tokenizer, folder.path() + "/new");
  const std::string text = letters(2000, 4);
  EXPECT_EQ(load_tokenizer(folder.path() + "/new")->encode(text), tokenizer.encode(text));
  std::filesystem::remove(folder.path() + "/new/tokenizer.json");
  EXPECT_EQ(load_tokenizer(folder.path() + "/new")->encode(text), tokenizer.encode(text));

  save_tokenizer(ByteTokenizer(), folder.path() + "/bytes");
  const std::string bytes = "any \xff bytes<|endoftext|>\n";
  EXPECT_EQ(load_tokenizer(folder.path() + "/bytes")->encode(bytes), ByteTokenizer().encode(bytes));
}

TEST(TokenizerFolderTest, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { load_tokenizer(folder.path()); }),
            "the folder '" + folder.path() +
                "' has no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt");
  folder.file("vocab.json", "{}");
  folder.file("merges.txt", "");
  EXPECT_TRUE(error_of([&] {
                load_tokenizer(folder.path());
              }).starts_with("cannot read the tokenizer in '" + folder.path() + "': the voc"));
  const std::string path = folder.file("tokenizer.json", "{");
  EXPECT_TRUE(error_of([&] {
                load_tokenizer(folder.path());
              }).starts_with("cannot read '" + path + "': the tokenizer is not JSON: "));
}

}  // namespace
}  // namespace strobe
