#include "strobe/data/unicode_class.h"

#include <algorithm>
#include <array>
#include <memory>

namespace strobe {
namespace {

struct Range {
  char32_t first, last;
  CharacterClass kind;
};

constexpr Range kRanges[] = {
#include "strobe/data/unicode_classes.inc"
};

constexpr char32_t kCodePoints = 0x110000;

// The class of each code point, two bits each: 272 KiB, of which a text touches little.
class ClassTable {
 public:
  ClassTable() : bits_(std::make_unique<uint8_t[]>(kCodePoints / 4)) {
    for (const Range& range : kRanges) {
      for (char32_t c = range.first; c <= range.last; ++c) {
        bits_[c / 4] |= static_cast<uint8_t>(static_cast<unsigned>(range.kind) << (c % 4 * 2));
      }
    }
  }
  CharacterClass at(char32_t c) const {
    return static_cast<CharacterClass>(bits_[c / 4] >> (c % 4 * 2) & 3);
  }

 private:
  std::unique_ptr<uint8_t[]> bits_;
};

const ClassTable& table() {
  static const ClassTable the_table;
  return the_table;
}

// The length of the UTF-8 sequence at `at` and its code point; length 0 where there is none: cut
// short, longer than needed, a surrogate, or beyond U+10FFFF.
struct Sequence {
  uint32_t bytes = 0;
  char32_t code_point = 0;
};

inline Sequence sequence_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> char32_t { return static_cast<unsigned char>(text[at + i]); };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const auto low = [&](size_t i) { return byte(i) & 0x3f; };
  const size_t size = text.size() - at;
  const char32_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  if (lead < 0xc2 || size < 2 || !continues(1)) return {};
  if (lead < 0xe0) return {2, (lead & 0x1f) << 6 | low(1)};
  if (size < 3 || !continues(2)) return {};
  if (lead < 0xf0) {
    const char32_t c = (lead & 0x0f) << 12 | low(1) << 6 | low(2);
    const bool is_valid = c >= 0x800 && !(c >= 0xd800 && c < 0xe000);
    return is_valid ? Sequence{3, c} : Sequence{};
  }
  if (size < 4 || !continues(3)) return {};
  const char32_t c = (lead & 0x07) << 18 | low(1) << 12 | low(2) << 6 | low(3);
  const bool is_valid = lead < 0xf5 && c >= 0x10000 && c < kCodePoints;
  return is_valid ? Sequence{4, c} : Sequence{};
}

inline Character read_character(const ClassTable& classes, std::string_view text, size_t at) {
  const Sequence sequence = sequence_at(text, at);
  if (sequence.bytes == 0) return {1, CharacterClass::other};
  return {sequence.bytes, classes.at(sequence.code_point)};
}

}  // namespace

CharacterClass class_of_code_point(char32_t code_point) { return table().at(code_point); }

Character character_at(std::string_view text, size_t at) {
  return read_character(table(), text, at);
}

size_t class_run_end(std::string_view text, size_t at, CharacterClass kind) {
  const ClassTable& classes = table();
  while (at < text.size()) {
    const Character next = read_character(classes, text, at);
    if (next.kind != kind) break;
    at += next.bytes;
  }
  return at;
}

Character character_before(std::string_view text, size_t end) {
  // A byte that leads a sequence is never inside another, so what is found here is what a reader
  // who comes from the left finds.
  for (size_t length = 1; length <= std::min<size_t>(4, end); ++length) {
    const Sequence sequence = sequence_at(text.substr(0, end), end - length);
    if (sequence.bytes == length) return {sequence.bytes, table().at(sequence.code_point)};
  }
  return {1, CharacterClass::other};
}

}  // namespace strobe
