#include "strobe/ops/gelu/gelu_reference.h"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace strobe {
namespace {

const double kScale = std::sqrt(2 / std::numbers::pi);
constexpr double kCubic = 0.044715;

}  // namespace

std::vector<double> gelu_forward_reference(std::span<const double> x) {
  std::vector<double> y;
  y.reserve(x.size());
  for (const double v : x) y.push_back(0.5 * v * (1 + std::tanh(kScale * (v + kCubic * v * v * v))));
  return y;
}

std::vector<double> gelu_backward_reference(std::span<const double> x, std::span<const double> dy) {
  std::vector<double> dx;
  dx.reserve(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double t = std::tanh(kScale * (v + kCubic * v * v * v));
    const double slope = kScale * (1 + 3 * kCubic * v * v);
    dx.push_back(dy[i] * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * slope));
  }
  return dx;
}

}  // namespace strobe
