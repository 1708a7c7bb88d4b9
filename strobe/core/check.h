#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

#include "strobe/core/text.h"

namespace strobe {

// What every failed check throws: one readable line that names the value and what is allowed.
// `where()` is the source position, shown by `--verbose` only.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, std::string where)
      : std::runtime_error(message), where_(std::move(where)) {}
  const std::string& where() const { return where_; }

 private:
  std::string where_;
};

// A source position. clang 14 has no std::source_location, so the builtins stand in for it.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) {
    return {f, l};
  }
};

[[noreturn]] inline void throw_error(const std::string& message, Where where = Where::here()) {
  throw Error(message, fmt::format("{}:{}", where.file, where.line));
}

// Throws Error with the parts joined when `ok` is false:
//   check(k.shape[3] == d, "k has head_dim ", k.shape[3], ", q has ", d);
template <class... Parts>
struct check {
  check(bool ok, const Parts&... parts, Where where = Where::here()) {
    if (!ok) {
      std::string message;
      (fmt::format_to(std::back_inserter(message), "{}", parts), ...);
      throw_error(message, where);
    }
  }
};
template <class... Parts>
check(bool, const Parts&...) -> check<Parts...>;  // lets the default argument follow a pack

}  // namespace strobe
