#include "strobe/cli/whole_numbers.h"

#include <charconv>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/options.h"

namespace strobe {

int64_t whole_number(const std::string& flag, const std::string& text, int64_t min, int64_t max) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < min || value > max) {
    throw UsageError(fmt::format("{} has '{}', allowed is a whole number from {} to {}", flag, text,
                                 min, max));
  }
  return value;
}

std::vector<int64_t> whole_numbers(const std::string& flag, const std::string& list, int64_t min,
                                   int64_t max) {
  std::vector<int64_t> numbers;
  for (const std::string& word : split_at_commas(list)) {
    numbers.push_back(whole_number(flag, word, min, max));
  }
  return numbers;
}

}  // namespace strobe
