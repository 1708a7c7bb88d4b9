#include "strobe/core/json.h"

#include "strobe/core/check.h"

namespace strobe {
namespace {

constexpr int kDeepest = 64;

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
    throw_error(fmt::format("{} is not JSON: {}", what, shorten(reason_of(error), 200)));
  }
}

std::string short_text(const SortedJson& value) { return shorten(value.dump(), 60); }

std::string in_quotes(std::string_view name) {
  return SortedJson(shorten(name, 100)).dump(-1, ' ', false, SortedJson::error_handler_t::replace);
}

std::string shorten(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  const auto continues_character = [](char c) { return (c & 0xc0) == 0x80; };
  while (bytes > 0 && continues_character(text[bytes])) --bytes;
  return std::string(text.substr(0, bytes)) + "…";
}

}  // namespace strobe
