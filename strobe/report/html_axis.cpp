#include "strobe/report/html_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/core/check.h"

namespace strobe {
namespace {

// The round number next to x: 1, 2 or 5 times a power of ten.
double round_step(double x) {
  const double power = std::pow(10.0, std::floor(std::log10(x)));
  const double factor = x / power;
  return (factor < 1.5 ? 1 : factor < 3.5 ? 2 : factor < 7.5 ? 5 : 10) * power;
}

constexpr int kLinearTicks = 5;

}  // namespace

Axis::Axis(double low, double high, bool is_log) : low_(low), high_(high), is_log_(is_log) {
  check(std::isfinite(low) && std::isfinite(high) && low <= high, "an axis from ", low, " to ",
        high);
  check(!is_log || low > 0, "a logarithmic axis from ", low, ", allowed is above 0");
  if (low < high) return;
  const double room = low == 0 ? 1 : 0.1 * std::abs(low);
  low_ = is_log ? low / 2 : low - room;
  high_ = is_log ? high * 2 : high + room;
}

Axis Axis::with_round_ends(double low, double high) {
  const Axis narrow(low, high, /*is_log=*/false);
  const double step = round_step((narrow.high_ - narrow.low_) / kLinearTicks);
  return {step * std::floor(narrow.low_ / step), step * std::ceil(narrow.high_ / step), false};
}

double Axis::position(double value) const {
  if (is_log_) return std::log(value / low_) / std::log(high_ / low_);
  return (value - low_) / (high_ - low_);
}

std::vector<double> Axis::ticks(int wanted) const {
  if (is_log_) return log_ticks(wanted);
  const double step = round_step((high_ - low_) / wanted);
  std::vector<double> values;
  const double first = std::ceil(low_ / step - 1e-6) + 0.0;  // never −0
  for (double i = first; i * step <= high_ + 1e-6 * step; ++i) values.push_back(i * step);
  return values;
}

std::vector<double> Axis::log_ticks(int wanted) const {
  const double first = std::floor(std::log10(low_)), last = std::ceil(std::log10(high_));
  const double decades = std::log10(high_ / low_);
  const std::vector<double> factors =
      decades < 2.5 ? std::vector<double>{1, 2, 5} : std::vector<double>{1};
  const double stride = std::max(1.0, std::round(decades / wanted));
  std::vector<double> values;
  for (double exponent = first; exponent <= last; exponent += stride) {
    for (double factor : factors) {
      const double value = factor * std::pow(10.0, exponent);
      if (value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) values.push_back(value);
    }
  }
  return values;
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  const bool is_short = size < 1e4 || (size < 1e6 && std::fmod(size, 1000) != 0);
  if (is_short && value == std::round(value)) return fmt::format("{:.0f}", value);
  if (is_short || size >= 1e10) return fmt::format("{:.4g}", value);
  return fmt::format("{:.4g}{}", value / (size >= 1e6 ? 1e6 : 1e3), size >= 1e6 ? "M" : "k");
}

std::vector<ChartPoint> thin(const std::vector<ChartPoint>& points, size_t wanted) {
  std::vector<ChartPoint> finite;
  std::ranges::copy_if(points, std::back_inserter(finite), [](const ChartPoint& p) {
    return std::isfinite(p.x) && std::isfinite(p.y);
  });
  if (finite.size() <= wanted || wanted < 4) return finite;
  std::vector<ChartPoint> kept = {finite.front()};
  const auto keep = [&](const ChartPoint& p) {
    if (p.x > kept.back().x) kept.push_back(p);
  };
  const size_t stretches = wanted / 2;
  for (size_t s = 0; s < stretches; ++s) {
    const auto begin = finite.begin() + static_cast<std::ptrdiff_t>(s * finite.size() / stretches);
    const auto end =
        finite.begin() + static_cast<std::ptrdiff_t>((s + 1) * finite.size() / stretches);
    auto [low, high] = std::minmax_element(
        begin, end, [](const ChartPoint& a, const ChartPoint& b) { return a.y < b.y; });
    if (high < low) std::swap(low, high);
    keep(*low);
    keep(*high);
  }
  keep(finite.back());
  return kept;
}

}  // namespace strobe
