#include "strobe/core/json.h"

#include <gtest/gtest.h>

#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

TEST(JsonTest, Parses) {
  EXPECT_EQ(parse_json(R"({"b": [1, "é"], "a": null})", "it").dump(), R"({"a":null,"b":[1,"é"]})");
}

TEST(JsonTest, ErrorsSayWhatAndWhere) {
  const auto message = [](std::string_view text) {
    return error_of([&] { parse_json(text, "config.json"); });
  };
  EXPECT_EQ(message("{\n  \"a\": oops}").find("config.json is not JSON: parse error at line 2"),
            0u);
  EXPECT_NE(message(""), "no error");
  EXPECT_NE(message("{} {}"), "no error");
  EXPECT_NE(message("[1e999]"), "no error");
  EXPECT_NE(message("[\"\xff\"]"), "no error") << "not UTF-8";
  EXPECT_EQ(message("[\"" + std::string(1000, 'x')).find('\n'), std::string::npos);
  EXPECT_LT(message("[\"" + std::string(1000, 'x')).size(), 300u);
}

TEST(JsonTest, DeepNestingIsRefusedNotFollowed) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_NO_THROW(parse_json(nested(64), "it"));
  EXPECT_EQ(error_of([&] { parse_json(nested(66), "it"); }), "it nests values more than 64 deep");
  EXPECT_EQ(error_of([&] { parse_json(nested(10'000'000), "it"); }),
            "it nests values more than 64 deep");
}

TEST(JsonTest, ShortTextCutsBetweenCharacters) {
  EXPECT_EQ(shorten("abc", 3), "abc");
  EXPECT_EQ(shorten("aé", 2), "a…");
  EXPECT_EQ(shorten("aéb", 3), "aé…");
  EXPECT_EQ(short_text(SortedJson::array({1, "x"})), R"([1,"x"])");
}

TEST(JsonTest, MessagesHaveNothingThatATerminalObeys) {
  EXPECT_EQ(in_quotes("a\n\x1b[2J\x7f\xc2\x9b é"), R"("a\n\u001b[2J\u007f\u009b é")");
  EXPECT_EQ(short_text("\x7f"), R"("\u007f")");
  const std::string error = error_of([] { parse_json("tru\x7f", "it"); });
  EXPECT_NE(error.find("\\u007f"), std::string::npos) << error;
  EXPECT_EQ(error.find('\x7f'), std::string::npos) << error;
}

}  // namespace
}  // namespace strobe
