// Files of tokens, and what their readers refuse.
#include "strobe/data/token_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "strobe/data/dataset.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using testing::content_of;
using testing::error_of;
using testing::TemporaryFolder;
using Ids = std::vector<int32_t>;

Ids counted(int32_t first, size_t size) {
  Ids ids(size);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

std::string write_tokens(const TemporaryFolder& folder, const Ids& ids, int64_t vocab_size) {
  const std::string path = folder.path() + "/some.tokens";
  TokenFileWriter writer(path, ByteTokenizer(vocab_size), 42);
  writer.write(std::span(ids).first(ids.size() / 2));
  writer.write(std::span(ids).subspan(ids.size() / 2));
  writer.commit();
  return path;
}

TEST(TokenFileTest, TokensComeBackFromAnyPlace) {
  const TemporaryFolder folder;
  for (const int64_t vocab_size : {65'536, 65'537}) {
    const Ids ids = counted(65'530 - 1000, 1006);
    const std::string path = write_tokens(folder, ids, vocab_size);
    EXPECT_TRUE(is_token_file(path));
    const TokenFile file(path);
    EXPECT_EQ(content_of(path).size(), 64 + 1006u * (vocab_size > 65'536 ? 4 : 2));
    EXPECT_EQ(file.size(), 1006);
    EXPECT_EQ(file.header().vocab_size, static_cast<uint64_t>(vocab_size));
    EXPECT_EQ(file.header().vocabulary, fingerprint(ByteTokenizer(vocab_size)));
    EXPECT_EQ(file.header().source, 42u);
    Ids all(1006), some(3);
    file.read(0, all);
    EXPECT_EQ(all, ids);
    file.read(1003, some);
    EXPECT_EQ(some, counted(65'533, 3));
    EXPECT_EQ(error_of([&] { file.read(1004, some); }),
              "cannot read '" + path + "': tokens 1004 to 1007 of 1006");
    EXPECT_NE(error_of([&] { file.read(-1, some); }), "no error");
  }
}

TEST(TokenFileTest, IsWindowsToTrainOn) {
  const TemporaryFolder folder;
  const std::string path = write_tokens(folder, counted(0, 20), 300);
  const auto windows = packed_windows(std::make_unique<TokenFile>(path), 5);
  ASSERT_EQ(windows->size(), 4);
  Ids tokens(5), labels(5);
  EXPECT_EQ(windows->read(3, tokens, labels), 5);
  EXPECT_EQ(tokens, counted(12, 5));
  EXPECT_EQ(labels, tokens);
  EXPECT_NE(error_of([&] {
              packed_windows(std::make_unique<TokenFile>(path), 21);
            }).find("has 20 tokens, less than one window of 21"),
            std::string::npos);
}

TEST(TokenFileTest, VocabulariesHaveDifferentFingerprints) {
  EXPECT_NE(fingerprint(ByteTokenizer(257)), fingerprint(ByteTokenizer(258)));
  EXPECT_EQ(fingerprint(ByteTokenizer(300)), fingerprint(ByteTokenizer(300)));
}

class BrokenTokenFileTest : public ::testing::Test {
 protected:
  // The message for a good file with these bytes changed at a place of its header.
  template <class T>
  std::string error_with(size_t at, T value) const {
    std::string bytes = good_;
    std::memcpy(&bytes[at], &value, sizeof(value));
    return error(bytes);
  }
  static std::string error(const std::string& bytes) {
    return error_of([&] { parse_token_file(std::as_bytes(std::span(bytes))); });
  }

  TemporaryFolder folder_;
  std::string path_ = write_tokens(folder_, counted(0, 10), 300);
  std::string good_ = content_of(path_);
};

TEST_F(BrokenTokenFileTest, HeadersThatLie) {
  EXPECT_EQ(error(good_), "no error");
  EXPECT_EQ(error(""), "it has 0 bytes, the header of a token file alone has 64");
  EXPECT_EQ(error(good_.substr(0, 63)), "it has 63 bytes, the header of a token file alone has 64");
  EXPECT_EQ(error_with(0, 'X'), "it does not begin as a token file does");
  for (const uint64_t tokens : {uint64_t{9}, uint64_t{11}, ~uint64_t{0}, uint64_t{1} << 63}) {
    EXPECT_EQ(
        error_with(8, tokens),
        fmt::format("it has 20 bytes of tokens, its header says {} tokens of 2 bytes", tokens));
  }
  EXPECT_EQ(error(good_.substr(0, good_.size() - 1)),
            "it has 19 bytes of tokens, its header says 10 tokens of 2 bytes");
  EXPECT_EQ(error(good_ + "xx"), "it has 22 bytes of tokens, its header says 10 tokens of 2 bytes");
  EXPECT_EQ(error_with(16, uint64_t{0}),
            "its vocabulary has 0 tokens, allowed are 1 to 2147483647");
  EXPECT_EQ(error_with(16, ~uint64_t{0}),
            "its vocabulary has 18446744073709551615 tokens, allowed are 1 to 2147483647");
  EXPECT_EQ(error_with(16, uint64_t{100'000}), "its tokens have 2 bytes, those of 100000 have 4");
  EXPECT_EQ(error_with(24, uint32_t{3}), "its tokens have 3 bytes, those of 300 have 2");
}

TEST_F(BrokenTokenFileTest, TokensBeyondTheVocabulary) {
  good_[64 + 2 * 7] = '\x2c';  // token 7 is 300
  good_[64 + 2 * 7 + 1] = 1;
  const TokenFile file(folder_.file("broken.tokens", good_));
  Ids first(7), all(10);
  file.read(0, first);
  EXPECT_EQ(first, counted(0, 7));
  EXPECT_EQ(error_of([&] { file.read(0, all); }),
            "cannot read '" + file.name() + "': token 7 is 300, the vocabulary has 300");
}

TEST_F(BrokenTokenFileTest, ErrorsNameTheFile) {
  const std::string path = folder_.file("broken.tokens", good_.substr(0, 70));
  EXPECT_EQ(
      error_of([&] { TokenFile{path}; }),
      "cannot read '" + path + "': it has 6 bytes of tokens, its header says 10 tokens of 2 bytes");
  EXPECT_FALSE(is_token_file(folder_.path() + "/missing"));
  EXPECT_FALSE(is_token_file(folder_.file("text", "STRBT")));
  EXPECT_FALSE(is_token_file(folder_.path()));
}

}  // namespace
}  // namespace strobe
