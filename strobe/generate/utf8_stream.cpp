#include "strobe/generate/utf8_stream.h"

#include <cstddef>

namespace strobe {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// How the bytes begin: with a whole character, with something that is none, or with what may yet
// become one.
struct Beginning {
  enum class Kind { whole, malformed, unfinished };
  Kind kind;
  size_t bytes;
};

Beginning beginning_of(std::string_view text) {
  using enum Beginning::Kind;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {whole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {malformed, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates, and what is above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {unfinished, i};
    const bool is_second = i == 1;
    if (byte(i) < (is_second ? low : 0x80) || byte(i) > (is_second ? high : 0xBF)) {
      return {malformed, i};
    }
  }
  return {whole, length};
}

}  // namespace

std::string Utf8Stream::add(std::string_view bytes) {
  waiting_ += bytes;
  std::string characters;
  std::string_view rest = waiting_;
  while (!rest.empty()) {
    const auto [kind, size] = beginning_of(rest);
    if (kind == Beginning::Kind::unfinished) break;
    characters += kind == Beginning::Kind::whole ? rest.substr(0, size) : kReplacement;
    rest.remove_prefix(size);
  }
  waiting_.erase(0, waiting_.size() - rest.size());
  return characters;
}

std::string Utf8Stream::finish() {
  const bool is_cut = !waiting_.empty();
  waiting_.clear();
  return std::string(is_cut ? kReplacement : "");
}

std::string valid_utf8(std::string_view bytes) {
  Utf8Stream stream;
  const std::string characters = stream.add(bytes);
  return characters + stream.finish();
}

}  // namespace strobe
