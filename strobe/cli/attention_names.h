#pragma once

#include <string>
#include <vector>

namespace strobe {

// "standard,flash" → its names. Throws UsageError for a name that attention_wish() does not know,
// one that comes twice, and for none at all.
std::vector<std::string> attention_names(const std::string& list);

// "a,b" → "a", "b": the words between the commas, empty ones too.
std::vector<std::string> split_at_commas(const std::string& list);

}  // namespace strobe
