#pragma once

#include <span>
#include <vector>

namespace strobe {

// The definition of layernorm, in double and plain loops: what every implementation is tested
// against. x, y, dy, dx are [rows, C], the parameters [C], mean and rstd [rows].
struct LayernormReference {
  std::vector<double> y, mean, rstd;
};
LayernormReference layernorm_forward_reference(std::span<const double> x,
                                               std::span<const double> weight,
                                               std::span<const double> bias, double epsilon);

struct LayernormGradients {
  std::vector<double> dx, dweight, dbias;
};
LayernormGradients layernorm_backward_reference(std::span<const double> x,
                                                std::span<const double> weight,
                                                std::span<const double> dy, double epsilon);

}  // namespace strobe
