#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace strobe {

// Keeps the order in which keys were added: a results line reads as it was written.
using Json = nlohmann::ordered_json;

// JSON that somebody else wrote: with its keys sorted, a lookup is quick for any number of them.
using SortedJson = nlohmann::json;

// Throws Error, "<what> is not JSON: …" with the place, unless the text is one JSON value; values
// inside more than 64 others are refused, because what is nested is walked by recursion.
SortedJson parse_json(std::string_view text, std::string_view what);

// The value on one line for an error message, cut after 60 bytes.
std::string short_text(const SortedJson& value);

// A name out of a file, for messages: in quotes, control characters escaped, not too long.
std::string in_quotes(std::string_view name);

// The text up to `bytes`, "…" in place of the rest; no UTF-8 character is cut in two.
std::string shorten(std::string_view text, size_t bytes);

}  // namespace strobe
