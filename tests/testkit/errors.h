#pragma once

#include <string>

#include "strobe/core/check.h"

namespace strobe::testing {

// The message of the Error that f() throws, "no error" if it returns.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace strobe::testing
