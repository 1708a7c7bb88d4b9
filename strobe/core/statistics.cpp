#include "strobe/core/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "strobe/core/check.h"

namespace strobe {

double mean(std::span<const double> values) {
  check(!values.empty(), "the mean of no values");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  const double center = mean(values);
  if (values.size() == 1) return 0;
  double squares = 0;
  for (const double value : values) squares += (value - center) * (value - center);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double percentile(std::span<const double> values, double percent) {
  check(!values.empty(), "a percentile of no values");
  check(percent >= 0 && percent <= 100, "percentile ", percent, ", allowed is 0 to 100");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double weight = position - static_cast<double>(below);
  return sorted[below] * (1 - weight) + sorted[above] * weight;
}

double median(std::span<const double> values) { return percentile(values, 50); }

}  // namespace strobe
