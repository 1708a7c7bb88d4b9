#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "strobe/data/bpe_vocabulary.h"

namespace strobe {

// Finds added tokens in texts: the leftmost first, of those that begin there the longest.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  struct Match {
    const AddedToken* token;
    size_t begin, end;  // the white space that it strips included
  };
  // The first match that begins at `from` or later. What lies before `from` is taken; special
  // tokens are passed over where their names are text.
  std::optional<Match> find(std::string_view text, size_t from, SpecialNames special) const;

  // Whether some token's content begins before `at` and reaches it.
  bool reaches(std::string_view text, size_t at) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at) const;
  size_t next_candidate(std::string_view text, size_t from) const;

  std::vector<AddedToken> tokens_;                      // longer ones first
  std::array<std::vector<size_t>, 256> by_first_byte_;  // indices of tokens_
  int only_first_byte_ = -1;                            // where all tokens begin alike
  size_t longest_bytes_ = 0;
};

}  // namespace strobe
