#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <optional>
#include <string_view>

namespace strobe::testing {

// A pattern compiled by PCRE2's JIT, with Unicode classes: GPT-2's own definition of a word, which
// the scanner is held against and timed beside.
class Pattern {
 public:
  explicit Pattern(const char* pattern);
  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  // Where the match that begins at `begin` ends; nothing where there is none. `text` is UTF-8.
  std::optional<size_t> match_end(std::string_view text, size_t begin) const;

 private:
  pcre2_code* code_;
  pcre2_match_data* match_;
};

}  // namespace strobe::testing
