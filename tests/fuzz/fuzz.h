#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "strobe/core/check.h"

// What fuzz targets share. A target is one file with libFuzzer's entry point, which gives any bytes
// to a reader of files: it may refuse them with an Error of one line, and do nothing else.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace strobe::testing {

// Stops with a finding unless that is so.
inline void require(bool is_so, const char* what) {
  if (is_so) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Whether read() throws an Error, which then is one line that a terminal can show.
template <class Read>
bool is_refused(const Read& read) {
  try {
    read();
    return false;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    require(!message.empty() && message.size() < 2000,
            "an error has a message, and not a long one");
    for (const char c : message) {
      const bool is_plain = static_cast<unsigned char>(c) >= ' ' && c != 0x7f;
      if (!is_plain) std::fprintf(stderr, "%s\n", error.what());
      require(is_plain, "an error is one line that a terminal can show");
    }
    return true;
  }
}

}  // namespace strobe::testing
