#include "strobe/generate/utf8_stream.h"

#include <gtest/gtest.h>

namespace strobe::testing {
namespace {

// What comes out when the bytes come in pieces of `size`.
std::string through(const std::string& bytes, size_t size) {
  Utf8Stream stream;
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += size) text += stream.add(bytes.substr(i, size));
  return text + stream.finish();
}

TEST(Utf8Stream, WholeCharactersOnly) {
  Utf8Stream stream;
  EXPECT_EQ(stream.add("a\xE4\xBD"), "a");
  EXPECT_EQ(stream.add("\xA0"), "\xE4\xBD\xA0");
  EXPECT_EQ(stream.add("\xF0\x9F"), "");
  EXPECT_EQ(stream.add("\x98"), "");
  EXPECT_EQ(stream.add("\x80!"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, AnyPiecesGiveTheSame) {
  const std::string text = "Grüße, 你好 🙂\u200D♂\uFE0F \u0301 \U0010FFFF\x7F";
  for (size_t size = 1; size < 9; ++size) EXPECT_EQ(through(text, size), text);
}

// Unicode's own examples, chapter 3.9, tables 3-8 to 3-11; Python agrees.
TEST(Utf8Stream, WhatIsNoCharacterIsReplaced) {
  const std::string r = "\uFFFD";
  for (const size_t size : {1, 2, 3, 100}) {
    EXPECT_EQ(through("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", size),
              r + r + r + r + r + r + r + r + "A");
    EXPECT_EQ(through("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", size),
              r + r + r + r + r + r + r + r + "A");
    EXPECT_EQ(through("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", size),
              r + r + r + r + r + "A" + r + r + "B");
    EXPECT_EQ(through("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", size), r + r + r + r + "A");
    EXPECT_EQ(through("x\xF0\x9F\x98", size), "x" + r);
    EXPECT_EQ(through("\x80", size), r);
  }
  for (const char* bytes : {"", "x\xF0\x9F\x98", "\xED\xA0\x80\xC3\xA4"}) {
    EXPECT_EQ(valid_utf8(bytes), through(bytes, 1));
  }
  Utf8Stream stream;
  EXPECT_EQ(stream.add("\xE4"), "");
  EXPECT_EQ(stream.finish(), r);
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace strobe::testing
