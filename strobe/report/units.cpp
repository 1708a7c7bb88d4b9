#include "strobe/report/units.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

namespace strobe {
namespace {

// How many decimals make three significant digits of |x| from 0.1 to a few thousand.
int decimals(double x) {
  const double size = std::abs(x);
  return size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
}

std::string digits(double x) { return fmt::format("{:.{}f}", x, decimals(x)); }

}  // namespace

std::string bytes_text(double bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  for (; std::abs(bytes) >= 999.5 && unit + 1 < std::size(units); ++unit) bytes /= 1000;
  return (unit == 0 ? fmt::format("{:.0f}", bytes) : digits(bytes)) + " " + units[unit];
}

std::string milliseconds_text(double ms) {
  return std::abs(ms) < 9999.5 ? digits(ms) + " ms" : digits(ms / 1000) + " s";
}

std::string mean_text(double mean, double deviation) {
  return fmt::format("{:.{}f} ± {:.{}f}", mean, decimals(mean), deviation, decimals(mean));
}

std::string percent_text(double fraction) { return fmt::format("{:.1f}%", 100 * fraction); }

std::string small_text(double value) { return value == 0 ? "0" : fmt::format("{:.1e}", value); }

}  // namespace strobe
