// Words against GPT-2's pattern in PCRE2, and where texts may be cut.
#include "strobe/data/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "strobe/core/json.h"
#include "strobe/core/random.h"
#include "strobe/data/pretokenizer_testing.h"
#include "strobe/data/unicode_class.h"

namespace strobe {
namespace {

using testing::Pattern;

std::string utf8(char32_t c) {
  const auto byte = [](char32_t value) { return static_cast<char>(value); };
  const auto next = [&](int shift) { return byte(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), next(0)};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), next(6), next(0)};
  return {byte(0xf0 | c >> 18), next(12), next(6), next(0)};
}

std::vector<char32_t> all_characters() {
  std::vector<char32_t> all;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xd800 || c >= 0xe000) all.push_back(c);
  }
  return all;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = word_end(text, begin);
    list.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return list;
}

// Numbers below `limit`, the same in every run.
class Draws {
 public:
  uint32_t below(uint32_t limit) {
    return philox({{next_++, 0, 0, 0}}, random_key(7, 0, 0)).word[0] % limit;
  }

 private:
  uint32_t next_ = 0;
};

// PCRE2's version of Unicode is the machine's, ours is Unicode 16: an older one does not know all
// of its letters and numbers. And PCRE2 counts U+180E, which was one until Unicode 6.3, as a space.
TEST(UnicodeClassTest, IsPcre2sWhereItKnowsTheCharacter) {
  const Pattern letter(R"(\p{L})"), number(R"(\p{N})"), space(R"(\s)"), unassigned(R"(\p{Cn})");
  int unknown = 0;
  for (const char32_t c : all_characters()) {
    const std::string text = utf8(c);
    const CharacterClass ours = class_of_code_point(c);
    EXPECT_EQ(character_at(text, 0).kind, ours);
    EXPECT_EQ(character_before(text, text.size()).kind, ours);
    EXPECT_EQ(character_at(text, 0).bytes, text.size());
    if (c == 0x180e) continue;
    if (unassigned.match_end(text, 0)) {
      unknown += ours != CharacterClass::other;
      continue;
    }
    const CharacterClass theirs = letter.match_end(text, 0)   ? CharacterClass::letter
                                  : number.match_end(text, 0) ? CharacterClass::number
                                  : space.match_end(text, 0)  ? CharacterClass::space
                                                              : CharacterClass::other;
    EXPECT_EQ(ours, theirs) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
  EXPECT_LT(unknown, 20'000);
}

TEST(UnicodeClassTest, AByteThatIsNotUtf8IsACharacter) {
  // Cut short, stray, overlong, a surrogate, beyond U+10FFFF, no lead at all.
  for (const char* bytes : {"\xe4\xb8", "\x80", "\xc1\x81", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                            "\xff", "\xe0\x80\x80", "\xf0\x8f\x80\x80"}) {
    const std::string_view text = bytes;
    for (size_t at = 0; at < text.size(); ++at) {
      EXPECT_EQ(character_at(text, at).bytes, 1u);
      EXPECT_EQ(character_at(text, at).kind, CharacterClass::other);
      EXPECT_EQ(character_before(text, at + 1).bytes, 1u);
    }
  }
  EXPECT_EQ(character_before("a\xe4\xb8\x80", 4).bytes, 3u);
  EXPECT_EQ(character_before("\xe4\xb8\x80\x80", 4).bytes, 1u);
}

TEST(PretokenizerTest, CutsAsTheExamplesOfThePattern) {
  using List = std::vector<std::string>;
  EXPECT_EQ(words("It's 3.14, they'll  say\n\n"),
            (List{"It", "'s", " 3", ".", "14", ",", " they", "'ll", " ", " say", "\n\n"}));
  EXPECT_EQ(words("  x"), (List{" ", " x"}));
  EXPECT_EQ(words("\n\n x"), (List{"\n\n", " x"}));
  EXPECT_EQ(words(" \nx"), (List{" ", "\n", "x"}));
  EXPECT_EQ(words(" 's '"), (List{" '", "s", " '"}));
  EXPECT_EQ(words("\xff's"), (List{"\xff'", "s"}));
  EXPECT_TRUE(words("").empty());
}

// Texts of characters of every kind, those known to both, with many apostrophes and spaces.
std::string random_text(Draws& draws, const std::vector<char32_t>& characters) {
  constexpr std::string_view often[] = {"'", " ", "  ", "\n", "s",  "t", "re", "ve", "ll",
                                        "d", "m", "a",  "1",  "!!", "_", "R",  " '"};
  std::string text;
  for (uint32_t parts = 1 + draws.below(12); parts > 0; --parts) {
    if (draws.below(3) > 0) {
      text += often[draws.below(std::size(often))];
    } else {
      text += utf8(characters[draws.below(static_cast<uint32_t>(characters.size()))]);
    }
  }
  return text;
}

TEST(PretokenizerTest, IsGpt2sPattern) {
  const Pattern pattern(kWordPattern), unassigned(R"(\p{Cn})");
  std::vector<char32_t> characters;
  for (const char32_t c : all_characters()) {
    if (c != 0x180e && !unassigned.match_end(utf8(c), 0)) characters.push_back(c);
  }
  Draws draws;
  for (int i = 0; i < 100'000; ++i) {
    const std::string text = random_text(draws, characters);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = word_end(text, begin);
      ASSERT_EQ(end, pattern.match_end(text, begin)) << in_quotes(text) << " at " << begin;
      begin = end;
    }
  }
}

TEST(PretokenizerTest, PartsOfATextHaveItsWords) {
  const std::vector<char32_t> characters = all_characters();
  Draws draws;
  int boundaries = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = random_text(draws, characters);
    if (i % 2 == 0) text.insert(draws.below(static_cast<uint32_t>(text.size())), 1, '\xe4');
    const std::vector<std::string> whole = words(text);
    for (size_t at = 1; at < text.size(); ++at) {
      if (!is_word_boundary(text, at)) continue;
      std::vector<std::string> parts = words(std::string_view(text).substr(0, at));
      const std::vector<std::string> right = words(std::string_view(text).substr(at));
      parts.insert(parts.end(), right.begin(), right.end());
      ASSERT_EQ(parts, whole) << in_quotes(text) << " cut at " << at;
      ++boundaries;
    }
  }
  EXPECT_GT(boundaries, 20'000);
}

}  // namespace
}  // namespace strobe
