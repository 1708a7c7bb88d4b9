#pragma once

#include <string>
#include <string_view>

namespace strobe {

// Whole UTF-8 characters from bytes that come in pieces, as tokens do: a character may be spread
// over several. What cannot be part of one becomes U+FFFD, one for each longest piece that begins
// like a character, as Unicode recommends (chapter 3.9) and Python's decoder does.
class Utf8Stream {
 public:
  // The characters that are whole now; a beginning of one waits for the next bytes.
  std::string add(std::string_view bytes);
  // U+FFFD if the beginning of a character waits.
  std::string finish();

 private:
  std::string waiting_;
};

// The same of bytes that are there as a whole.
std::string valid_utf8(std::string_view bytes);

}  // namespace strobe
