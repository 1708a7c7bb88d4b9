#include "strobe/data/bpe_added_tokens.h"

#include <algorithm>

#include "strobe/data/unicode_class.h"

namespace strobe {
namespace {

size_t first_byte(std::string_view text) { return static_cast<unsigned char>(text[0]); }

bool is_space(const Character& character) { return character.kind == CharacterClass::space; }

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::ranges::stable_sort(tokens_, std::greater<>(),
                           [](const AddedToken& token) { return token.content.size(); });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    by_first_byte_[first_byte(content)].push_back(i);
    longest_bytes_ = std::max(longest_bytes_, content.size());
  }
  const auto begin_alike = [&](const AddedToken& token) {
    return token.content[0] == tokens_[0].content[0];
  };
  if (!tokens_.empty() && std::ranges::all_of(tokens_, begin_alike)) {
    only_first_byte_ = static_cast<int>(first_byte(tokens_[0].content));
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  const std::string_view rest = text.substr(at);
  for (const size_t i : by_first_byte_[first_byte(rest)]) {
    if (rest.starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

// Where a token could begin, at `from` or later.
size_t AddedTokenFinder::next_candidate(std::string_view text, size_t from) const {
  if (only_first_byte_ >= 0) return text.find(static_cast<char>(only_first_byte_), from);
  while (from < text.size() && by_first_byte_[first_byte(text.substr(from))].empty()) ++from;
  return from < text.size() ? from : text.npos;
}

std::optional<AddedTokenFinder::Match> AddedTokenFinder::find(std::string_view text, size_t from,
                                                              SpecialNames special) const {
  if (tokens_.empty()) return std::nullopt;
  for (size_t at = next_candidate(text, from); at != text.npos;) {
    const AddedToken* token = longest_at(text, at);
    if (token == nullptr || (special == SpecialNames::text && token->is_special)) {
      at = next_candidate(text, at + (token == nullptr ? 1 : token->content.size()));
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    while (token->strips_left && begin > from) {
      const Character before = character_before(text, begin);
      if (!is_space(before) || before.bytes > begin - from) break;
      begin -= before.bytes;
    }
    while (token->strips_right && end < text.size()) {
      const Character after = character_at(text, end);
      if (!is_space(after)) break;
      end += after.bytes;
    }
    return Match{token, begin, end};
  }
  return std::nullopt;
}

bool AddedTokenFinder::reaches(std::string_view text, size_t at) const {
  for (size_t back = 1; back <= std::min(at, longest_bytes_); ++back) {
    const AddedToken* token = longest_at(text, at - back);
    if (token != nullptr && token->content.size() >= back) return true;
  }
  return false;
}

}  // namespace strobe
