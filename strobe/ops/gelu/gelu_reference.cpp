#include "strobe/ops/gelu/gelu_reference.h"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace strobe {
namespace {

const double kScale = std::sqrt(2 / std::numbers::pi);
constexpr double kCubic = 0.044715;

// ½(1 + tanh u), written so that nothing cancels where it is small.
double half_one_plus_tanh(double x) {
  return 1 / (1 + std::exp(-2 * kScale * (x + kCubic * x * x * x)));
}

}  // namespace

std::vector<double> gelu_forward_reference(std::span<const double> x) {
  std::vector<double> y;
  y.reserve(x.size());
  for (const double v : x) y.push_back(v * half_one_plus_tanh(v));
  return y;
}

std::vector<double> gelu_backward_reference(std::span<const double> x, std::span<const double> dy) {
  std::vector<double> dx;
  dx.reserve(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double s = half_one_plus_tanh(x[i]);
    const double slope = 2 * kScale * (1 + 3 * kCubic * x[i] * x[i]);
    dx.push_back(dy[i] * (s + x[i] * s * (1 - s) * slope));
  }
  return dx;
}

}  // namespace strobe
