#include "strobe/core/json.h"

#include "strobe/core/check.h"

namespace strobe {
namespace {

constexpr int kDeepest = 64;

// The text without characters that a terminal obeys: U+0000 to U+001F, and U+007F to U+009F, which
// JSON leaves as they are.
std::string without_controls(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    const bool is_pair = c == 0xc2 && next >= 0x80 && next < 0xa0;
    if (is_pair || c < 0x20 || c == 0x7f) {
      result += fmt::format("\\u{:04x}", is_pair ? next : c);
      i += is_pair ? 1 : 0;
    } else {
      result += text[i];
    }
  }
  return result;
}

// "[json.exception.parse_error.101] parse error at line 1, column 2: …" without the brackets.
std::string reason_of(const SortedJson::exception& error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return std::string(end == text.npos ? text : text.substr(end + 2));
}

}  // namespace

SortedJson parse_json(std::string_view text, std::string_view what) {
  const auto is_shallow = [&](int depth, SortedJson::parse_event_t, SortedJson&) {
    check(depth <= kDeepest, what, " nests values more than ", kDeepest, " deep");
    return true;
  };
  try {
    return SortedJson::parse(text, is_shallow);
  } catch (const SortedJson::exception& error) {
    const std::string reason = without_controls(reason_of(error));
    throw_error(fmt::format("{} is not JSON: {}", what, shorten(reason, 200)));
  }
}

std::string short_text(const SortedJson& value) {
  return shorten(without_controls(value.dump()), 60);
}

std::string in_quotes(std::string_view name) {
  const SortedJson text(shorten(name, 100));
  return without_controls(text.dump(-1, ' ', false, SortedJson::error_handler_t::replace));
}

std::string shorten(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  const auto continues_character = [](char c) { return (c & 0xc0) == 0x80; };
  while (bytes > 0 && continues_character(text[bytes])) --bytes;
  return std::string(text.substr(0, bytes)) + "…";
}

}  // namespace strobe
