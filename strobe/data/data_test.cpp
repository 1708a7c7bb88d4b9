// Tokenizer, corpus, samples, batches and the loader that prepares them.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <thread>

#include "strobe/core/check.h"
#include "strobe/data/batch.h"
#include "strobe/data/batch_loader.h"
#include "strobe/data/permutation.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

#define EXPECT_ERROR(statement, text)                                   \
  EXPECT_NE(error_of([&] { statement; }).find(text), std::string::npos) \
      << error_of([&] { statement; })

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "strobe_data_XXXXXX").string();
    check(mkdtemp(name.data()) != nullptr, "mkdtemp");
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name, std::string_view content) const {
    const std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string all_bytes() {
  std::string text(256, '\0');
  std::iota(text.begin(), text.end(), '\0');
  return text;
}

struct Sample {
  std::vector<int32_t> tokens, labels;
  int64_t length;
};

Sample read(const Dataset& dataset, int64_t index, int64_t seq) {
  Sample sample;
  sample.tokens.assign(static_cast<size_t>(seq), -1);
  sample.labels.assign(static_cast<size_t>(seq), -1);
  sample.length = dataset.read(index, sample.tokens, sample.labels);
  return sample;
}

std::vector<int32_t> ids(std::string_view text) { return ByteTokenizer().encode(text); }

TEST(ByteTokenizerTest, EveryByteIsATokenAndComesBack) {
  const ByteTokenizer tokenizer;
  const std::string text = all_bytes();  // mostly not UTF-8
  const std::vector<int32_t> tokens = tokenizer.encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(tokens[static_cast<size_t>(i)], i);
  EXPECT_EQ(tokenizer.decode(tokens), text);
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(ByteTokenizerTest, EndOfTextIsTheLastId) {
  EXPECT_EQ(ByteTokenizer().vocab_size(), 257);
  EXPECT_EQ(ByteTokenizer().end_of_text(), 256);
  EXPECT_EQ(ByteTokenizer(50257).end_of_text(), 50256);
  const std::vector<int32_t> tokens = {'a', 256, 'b'};
  EXPECT_EQ(ByteTokenizer().decode(tokens), "a<|endoftext|>b");
  EXPECT_EQ(ByteTokenizer().decode_without_special(tokens), "ab");
  EXPECT_EQ(ByteTokenizer().encode("a<|endoftext|>b"), tokens);
  EXPECT_EQ(ByteTokenizer().encode("<|endoftext|>", SpecialNames::text).size(), 13u);
}

TEST(ByteTokenizerTest, RefusesIdsOutsideTheVocabulary) {
  EXPECT_ERROR(ByteTokenizer().decode(std::vector<int32_t>{257}), "token 257");
  EXPECT_ERROR(ByteTokenizer().decode(std::vector<int32_t>{-1}), "token -1");
  EXPECT_ERROR(ByteTokenizer(256), "at least 257");
}

TEST(CorpusTest, ReadsAnyPlaceOfAFile) {
  const TemporaryFolder folder;
  const auto corpus = open_file(folder.file("text", all_bytes()));
  EXPECT_EQ(corpus->bytes(), 256);
  std::string middle(3, '\0');
  corpus->read(200, middle);
  EXPECT_EQ(middle, all_bytes().substr(200, 3));
}

TEST(CorpusTest, SaysWhyAFileCannotBeRead) {
  const TemporaryFolder folder;
  EXPECT_ERROR(open_file(folder.path() + "/missing"), "No such file");
  EXPECT_ERROR(open_file(folder.path()), "is a folder");
  EXPECT_ERROR(open_file(folder.file("empty", "")), "is empty");
  EXPECT_ERROR(open_file("/dev/zero"), "not a regular file");
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_ERROR(open_file(pipe), "not a regular file");
  const std::string secret = folder.file("secret", "text");
  ASSERT_EQ(chmod(secret.c_str(), 0), 0);
  if (geteuid() != 0) {
    EXPECT_ERROR(open_file(secret), "Permission denied");
  }
}

TEST(CorpusTest, NoticesAFileThatShrinks) {
  const TemporaryFolder folder;
  const std::string path = folder.file("text", "0123456789");
  const auto corpus = open_file(path);
  std::filesystem::resize_file(path, 4);
  std::string out(6, '\0');
  EXPECT_ERROR(corpus->read(2, out), "shorter");
}

TEST(CorpusTest, LabIs300SamplesOf1350Bytes) {
  const auto corpus = open_corpus("lab");
  EXPECT_EQ(corpus->bytes(), 300 * 1351);
  const ByteTokenizer tokenizer(50257);
  const auto samples = padded_lines(*corpus, tokenizer, 2000);
  ASSERT_EQ(samples->size(), 300);
  const Sample last = read(*samples, 299, 2000);
  EXPECT_EQ(last.length, 1351);  // with the first end of text
  EXPECT_EQ(tokenizer.decode(std::span(last.tokens).first(45)),
            "The quick brown fox jumps over the lazy dog. ");
  EXPECT_EQ(last.labels[1350], 50256);
  EXPECT_EQ(last.labels[1351], kNoLabel);
}

TEST(PackedTest, EveryTokenButTheFirstIsPredictedOnce) {
  const std::string text = "abcdefghijk";  // 11 tokens
  const auto corpus = text_corpus("text", text);
  const auto windows = packed_windows(byte_sequence(*corpus), 4);
  ASSERT_EQ(windows->size(), 3);  // a-d, d-g, g-j; k is left over
  EXPECT_EQ(read(*windows, 0, 4).tokens, ids("abcd"));
  EXPECT_EQ(read(*windows, 1, 4).tokens, ids("defg"));
  const Sample last = read(*windows, 2, 4);
  EXPECT_EQ(last.tokens, ids("ghij"));
  EXPECT_EQ(last.labels, last.tokens);
  EXPECT_EQ(last.length, 4);
}

TEST(PackedTest, TheSmallestTextIsOneWindow) {
  const auto four = text_corpus("text", "abcd"), three = text_corpus("text", "abc");
  EXPECT_EQ(packed_windows(byte_sequence(*four), 4)->size(), 1);
  EXPECT_ERROR(packed_windows(byte_sequence(*three), 4), "less than one window of 4");
  EXPECT_ERROR(packed_windows(byte_sequence(*three), 1), "at least 2");
}

TEST(PaddedTest, CutsAndFillsLines) {
  const ByteTokenizer tokenizer;
  const auto corpus = text_corpus("text", "\nab\n\n\nabcd\nabcdef\nabc");
  const auto lines = padded_lines(*corpus, tokenizer, 4);
  ASSERT_EQ(lines->size(), 4);
  const int32_t end = tokenizer.end_of_text();
  const Sample shorter = read(*lines, 0, 4);
  EXPECT_EQ(shorter.tokens, (std::vector<int32_t>{'a', 'b', end, end}));
  EXPECT_EQ(shorter.labels, (std::vector<int32_t>{'a', 'b', end, kNoLabel}));
  EXPECT_EQ(shorter.length, 3);
  for (int64_t line : {1, 2}) {  // as long as the sample, and longer
    const Sample full = read(*lines, line, 4);
    EXPECT_EQ(full.tokens, ids("abcd"));
    EXPECT_EQ(full.labels, ids("abcd"));
    EXPECT_EQ(full.length, 4);
  }
  const Sample last = read(*lines, 3, 4);  // no newline at the end of the text
  EXPECT_EQ(last.labels, (std::vector<int32_t>{'a', 'b', 'c', end}));
  EXPECT_EQ(last.length, 4);
  EXPECT_ERROR(padded_lines(*text_corpus("text", "\n\n"), tokenizer, 4), "no line");
}

TEST(PaddedTest, FindsLinesAcrossPiecesOfTheFile) {
  const ByteTokenizer tokenizer;
  const std::string line(700'000, 'x');
  const auto corpus = text_corpus("text", line + "\n" + line + "y\n" + line);
  const auto lines = padded_lines(*corpus, tokenizer, 8);
  ASSERT_EQ(lines->size(), 3);
  EXPECT_EQ(read(*lines, 2, 8).tokens, ids("xxxxxxxx"));
}

TEST(PermutationTest, IsAPermutationForEverySmallSize) {
  for (int64_t size = 1; size <= 300; ++size) {
    const Permutation order(size, random_key(1, 2, 3));
    std::vector<bool> seen(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      const int64_t at = order.at(i);
      ASSERT_TRUE(at >= 0 && at < size);
      ASSERT_FALSE(seen[static_cast<size_t>(at)]) << "size " << size;
      seen[static_cast<size_t>(at)] = true;
    }
  }
  EXPECT_ERROR(Permutation(0, {}), "at least 1");
}

// The mean distance of a random permutation's element from its place is n/3; and each place takes
// each value equally often over keys (chi-squared with 15 degrees of freedom, 99.99% below 44.3).
TEST(PermutationTest, LooksRandom) {
  const int64_t size = 100'003;
  const Permutation order(size, random_key(7, 0, 0));
  double distance = 0;
  for (int64_t i = 0; i < size; ++i) distance += std::abs(static_cast<double>(order.at(i) - i));
  EXPECT_NEAR(distance / static_cast<double>(size) / static_cast<double>(size), 1.0 / 3, 0.01);
  for (int64_t place : {0, 7, 15}) {
    std::array<int, 16> counts{};
    constexpr int keys = 16'000;
    for (uint64_t key = 0; key < keys; ++key) {
      ++counts[static_cast<size_t>(Permutation(16, random_key(key, 0, 0)).at(place))];
    }
    double chi_squared = 0;
    for (int count : counts) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000.0;
    EXPECT_LT(chi_squared, 44.3) << "place " << place;
  }
}

TEST(SplitTest, PartsAreDisjointAndTrainingIsNeverEmpty) {
  for (int64_t samples : {1, 2, 3, 10, 300}) {
    for (double fraction : {0.0, 0.01, 0.1, 0.5, 0.99}) {
      const Split split = split_samples(samples, fraction);
      EXPECT_EQ(split.train.begin, 0);
      EXPECT_GE(split.train.size(), 1);
      EXPECT_EQ(split.train.end, split.validation.begin);
      EXPECT_EQ(split.validation.end, samples);
      EXPECT_EQ(split.validation.size() > 0, fraction > 0 && samples > 1);
    }
  }
  EXPECT_EQ(split_samples(300, 0.1).validation.size(), 30);
  EXPECT_ERROR(split_samples(10, 1.0), "allowed is [0, 1)");
}

// 23 windows of 4, each known by its first token.
class BatchesTest : public ::testing::Test {
 protected:
  BatchesTest() {
    std::string text;
    for (int i = 0; i < 70; ++i) text += static_cast<char>(i);
    corpus_ = text_corpus("text", text);
    windows_ = packed_windows(byte_sequence(*corpus_), 4);
  }
  static std::vector<int32_t> first_tokens(const Batch& batch) {
    std::vector<int32_t> first;
    for (int64_t row = 0; row < batch.batch; ++row) {
      first.push_back(batch.tokens[static_cast<size_t>(row * batch.seq)]);
    }
    return first;
  }

  std::unique_ptr<Corpus> corpus_;
  std::unique_ptr<Dataset> windows_;
};

TEST_F(BatchesTest, AnEpochIsEverySampleOnceInANewOrder) {
  const SampleRange range = {3, 23};
  const ShuffledBatches batches(*windows_, range, 5, 4, 1);
  std::vector<std::vector<int32_t>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int32_t> drawn;
    for (int64_t i = 0; i < 4; ++i) {
      const Batch batch = batches.at(4 * epoch + i);
      EXPECT_EQ(batch.predictions, 5 * 3);
      const auto first = first_tokens(batch);
      drawn.insert(drawn.end(), first.begin(), first.end());
    }
    std::vector<int32_t> sorted = drawn;
    std::ranges::sort(sorted);
    for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], 3 * (3 + i));
    EXPECT_NE(drawn, sorted);
    epochs.push_back(drawn);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST_F(BatchesTest, DependOnTheSeedAndTheNumberAlone) {
  const ShuffledBatches a(*windows_, {0, 23}, 5, 4, 1), b(*windows_, {0, 23}, 5, 4, 1);
  const ShuffledBatches other(*windows_, {0, 23}, 5, 4, 2);
  const Batch late = a.at(17);
  EXPECT_EQ(a.at(3), b.at(3));
  EXPECT_EQ(b.at(17), late);
  EXPECT_NE(a.at(3), other.at(3));
}

TEST_F(BatchesTest, MayBeLargerThanTheText) {
  const ShuffledBatches batches(*windows_, {0, 2}, 5, 4, 1);
  const std::vector<int32_t> first = first_tokens(batches.at(0));
  EXPECT_TRUE(std::ranges::all_of(first, [](int32_t token) { return token == 0 || token == 3; }));
  const SampleRange none = {2, 2}, two = {0, 2};
  EXPECT_ERROR(ShuffledBatches(*windows_, none, 5, 4, 1), "no sample");
  EXPECT_ERROR(ShuffledBatches(*windows_, two, 0, 4, 1), "batch is 0");
}

TEST_F(BatchesTest, ValidationReadsEachSampleOnce) {
  const OrderedBatches batches(*windows_, {20, 23}, 2, 4);
  ASSERT_EQ(batches.size(), 2);
  EXPECT_EQ(first_tokens(batches.at(0)), (std::vector<int32_t>{60, 63}));
  const Batch last = batches.at(1);
  EXPECT_EQ(last.tokens[0], 66);
  EXPECT_EQ(last.predictions, 3);
  EXPECT_TRUE(std::all_of(last.labels.begin() + 4, last.labels.end(),
                          [](int32_t label) { return label == kNoLabel; }));
  EXPECT_ERROR(batches.at(2), "batch 2 of 2");
}

TEST(BatchTest, CountsOnlyPredictionsThatAreTrained) {
  const ByteTokenizer tokenizer;
  const auto corpus = text_corpus("text", "ab\nabcdef\na\n");
  const auto lines = padded_lines(*corpus, tokenizer, 4);
  const Batch batch = OrderedBatches(*lines, {0, 3}, 3, 4).at(0);
  EXPECT_EQ(batch.predictions, 2 + 3 + 1);
  EXPECT_EQ(batch.lengths, (std::vector<int32_t>{3, 4, 2}));
}

TEST_F(BatchesTest, TheLoaderGivesWhatADirectCallGives) {
  const ShuffledBatches batches(*windows_, {0, 23}, 5, 4, 1);
  BatchLoader loader([&](int64_t number) { return batches.at(number); }, 7);
  for (int64_t number = 7; number < 60; ++number) EXPECT_EQ(loader.next(), batches.at(number));
}

TEST(BatchLoaderTest, PreparesNoMoreThanItMay) {
  std::atomic<int64_t> made = 0;
  BatchLoader loader(
      [&](int64_t number) {
        ++made;
        return Batch{.batch = number};
      },
      0, 3);
  while (made < 3) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(made, 3);
  EXPECT_EQ(loader.next().batch, 0);
  while (made < 4) std::this_thread::yield();
}

TEST(BatchLoaderTest, ThrowsWhatMakingABatchThrowsInItsTurn) {
  std::atomic<bool> has_failed = false;
  BatchLoader loader(
      [&](int64_t number) {
        has_failed = number == 2;
        check(number < 2, "no batch ", number);
        return Batch{.batch = number};
      },
      0, 5);
  while (!has_failed) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(loader.next().batch, 0);
  EXPECT_EQ(loader.next().batch, 1);
  for (int i = 0; i < 2; ++i) EXPECT_ERROR(loader.next(), "no batch 2");
}

TEST(BatchLoaderTest, StopsWithoutBeingRead) {
  for (int i = 0; i < 50; ++i) {
    const BatchLoader loader([](int64_t) { return Batch{}; });
  }
}

}  // namespace
}  // namespace strobe
