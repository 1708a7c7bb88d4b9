#pragma once

#include <cstddef>
#include <string_view>

namespace strobe {

// GPT-2's way to cut a text into words, within which pairs are merged:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// so a word keeps the space before it, and a run of white space leaves its last character to the
// word that follows. Scanned by hand: PCRE2's compiled pattern takes several times as long, and its
// version of Unicode, and so a text's tokens, would differ between machines. The test holds the two
// against each other.
inline constexpr const char* kWordPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Where the word that begins at `begin` ends; `begin` is in the text, where a word ends or at 0.
size_t word_end(std::string_view text, size_t begin);

// Whether the words of the text are those of text[0, at) and those of text[at, …), wherever a text
// is to be cut into parts; `at` is in the text. Some places where words end are not found.
bool is_word_boundary(std::string_view text, size_t at);

}  // namespace strobe
