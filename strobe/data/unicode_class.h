#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace strobe {

// What GPT-2's pattern asks of a character: \p{L}, \p{N}, \s, or none of them. As in Unicode 16,
// which Hugging Face's `tokenizers` follows; later letters are `other`, as they are there.
enum class CharacterClass : uint8_t { other, letter, number, space };

// The class of a code point up to U+10FFFF.
CharacterClass class_of_code_point(char32_t code_point);

// A character of a text. A byte that belongs to no valid UTF-8 sequence is a character of its own,
// of class `other` (as U+FFFD is, which other programs put in its place).
struct Character {
  uint32_t bytes;
  CharacterClass kind;
};

// The character that begins at `at`, which is in the text and no byte inside another character.
Character character_at(std::string_view text, size_t at);

// The end of the run of characters of this class that begins at `at`, likewise.
size_t class_run_end(std::string_view text, size_t at, CharacterClass kind);

// The character that ends before `end`, which is in (0, text.size()] and not inside a character.
Character character_before(std::string_view text, size_t end);

}  // namespace strobe
