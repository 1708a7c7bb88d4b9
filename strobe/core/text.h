#pragma once

#include <fmt/format.h>

#include <concepts>
#include <ostream>
#include <string_view>

namespace strobe {

// A type that prints itself: a free function to_text(x) in its namespace gives its text.
template <class T>
concept HasText = requires(const T& x) {
  { to_text(x) } -> std::convertible_to<std::string_view>;
};

template <HasText T>
std::ostream& operator<<(std::ostream& out, const T& x) {
  return out << std::string_view(to_text(x));
}

}  // namespace strobe

template <strobe::HasText T>
struct fmt::formatter<T> : fmt::formatter<std::string_view> {
  auto format(const T& x, fmt::format_context& context) const {
    return fmt::formatter<std::string_view>::format(std::string_view(to_text(x)), context);
  }
};
