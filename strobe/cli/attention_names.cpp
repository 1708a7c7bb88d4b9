#include "strobe/cli/attention_names.h"

#include <algorithm>
#include <sstream>

#include "strobe/cli/options.h"
#include "strobe/core/check.h"
#include "strobe/ops/attention/attention.h"

namespace strobe {

std::vector<std::string> attention_names(const std::string& list) {
  const std::vector<std::string> names = split_at_commas(list);
  for (const std::string& name : names) {
    try {
      attention_wish(name);
    } catch (const Error& error) {
      throw UsageError(error.what());
    }
    if (std::ranges::count(names, name) > 1) {
      throw UsageError(fmt::format("'{}' names {} twice", list, name));
    }
  }
  return names;
}

std::vector<std::string> split_at_commas(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream text(list + ",");
  for (std::string word; std::getline(text, word, ',');) words.push_back(word);
  return words;
}

}  // namespace strobe
