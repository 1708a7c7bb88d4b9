#include "strobe/data/pretokenizer.h"

#include <array>

#include "strobe/data/unicode_class.h"

namespace strobe {
namespace {

// Characters of one byte are most of most texts.
constexpr unsigned kAscii = 128;
const std::array<CharacterClass, kAscii> kAsciiClasses = [] {
  std::array<CharacterClass, kAscii> classes{};
  for (char32_t c = 0; c < kAscii; ++c) classes[c] = class_of_code_point(c);
  return classes;
}();

Character read_character(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < kAscii) return {1, kAsciiClasses[byte]};
  return character_at(text, at);
}

// The end of the run of characters of this class.
size_t run_end(std::string_view text, size_t at, CharacterClass kind) {
  for (; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= kAscii) return class_run_end(text, at, kind);
    if (kAsciiClasses[byte] != kind) break;
  }
  return at;
}

// The length of 's 't 're 've 'm 'll 'd after the apostrophe; 0 where it is none of them.
size_t contraction(std::string_view rest) {
  if (rest.empty()) return 0;
  const char first = rest[0];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  return rest.starts_with("re") || rest.starts_with("ve") || rest.starts_with("ll") ? 2 : 0;
}

// White space is a word up to the end of the text. Before a word, its last character is left to it.
size_t space_end(std::string_view text, size_t begin) {
  size_t at = begin, last = begin;
  while (at < text.size()) {
    const Character next = read_character(text, at);
    if (next.kind != CharacterClass::space) return last == begin ? at : last;
    last = at;
    at += next.bytes;
  }
  return at;
}

}  // namespace

size_t word_end(std::string_view text, size_t begin) {
  const Character first = read_character(text, begin);
  if (first.kind != CharacterClass::space) {
    if (text[begin] == '\'') {
      const size_t letters = contraction(text.substr(begin + 1));
      if (letters > 0) return begin + 1 + letters;
    }
    return run_end(text, begin + first.bytes, first.kind);
  }
  if (text[begin] == ' ' && begin + 1 < text.size()) {
    const Character second = read_character(text, begin + 1);
    if (second.kind != CharacterClass::space) {
      return run_end(text, begin + 1 + second.bytes, second.kind);
    }
  }
  return space_end(text, begin);
}

bool is_word_boundary(std::string_view text, size_t at) {
  if (at == 0) return true;
  if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) return false;  // inside one?
  const CharacterClass before = character_before(text, at).kind;
  const CharacterClass after = read_character(text, at).kind;
  // Space joins what follows; an apostrophe may. Everything else ends where its class does.
  if (before == CharacterClass::space || before == after) return false;
  return !(before == CharacterClass::other && after == CharacterClass::letter);
}

}  // namespace strobe
