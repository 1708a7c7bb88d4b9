#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strobe {

// A whole number in [min, max], or several between commas: "512,1024". Throw UsageError with the
// flag, the text and what is allowed.
int64_t whole_number(const std::string& flag, const std::string& text, int64_t min, int64_t max);
std::vector<int64_t> whole_numbers(const std::string& flag, const std::string& list, int64_t min,
                                   int64_t max);

}  // namespace strobe
