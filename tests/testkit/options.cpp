#include "tests/testkit/options.h"

#include <sstream>

#include "strobe/core/check.h"

namespace strobe::testing {

Options& options() {
  static Options instance;
  return instance;
}

std::string value_in_case(const std::string& line, const std::string& key) {
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    if (word.starts_with(key + "=")) return word.substr(key.size() + 1);
  }
  throw_error("the case '" + line + "' has no '" + key + "='");
}

}  // namespace strobe::testing
