#include "strobe/data/pretokenizer_testing.h"

#include "strobe/core/check.h"

namespace strobe::testing {

Pattern::Pattern(const char* pattern) {
  int error = 0;
  PCRE2_SIZE where = 0;
  code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                        PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr);
  check(code_ != nullptr, "pattern error ", error, " at ", where);
  check(pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE) == 0, "this PCRE2 has no JIT");
  match_ = pcre2_match_data_create_from_pattern(code_, nullptr);
}

Pattern::~Pattern() {
  pcre2_match_data_free(match_);
  pcre2_code_free(code_);
}

std::optional<size_t> Pattern::match_end(std::string_view text, size_t begin) const {
  const int count = pcre2_jit_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                    begin, 0, match_, nullptr);
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match_);
  if (count < 1 || ends[0] != begin) return std::nullopt;
  return ends[1];
}

}  // namespace strobe::testing
