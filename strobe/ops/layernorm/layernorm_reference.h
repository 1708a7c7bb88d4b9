#pragma once

#include <span>
#include <vector>

#include "strobe/core/random.h"

namespace strobe {

// The definition of layernorm, in double and plain loops: what every implementation is tested
// against. x, y, dy, dx are [rows, C], the parameters [C], mean and rstd [rows].
struct LayernormReference {
  std::vector<double> y, mean, rstd;
};
LayernormReference layernorm_forward_reference(std::span<const double> x,
                                               std::span<const double> weight,
                                               std::span<const double> bias, double epsilon);

// The sum before it: residual + Z∘branch, element by element. An empty residual stands for 0.
std::vector<double> add_dropped_reference(std::span<const double> branch,
                                          std::span<const double> residual, const Dropout& dropout);

struct LayernormGradients {
  std::vector<double> dx, dweight, dbias;
};
LayernormGradients layernorm_backward_reference(std::span<const double> x,
                                                std::span<const double> weight,
                                                std::span<const double> dy, double epsilon);

}  // namespace strobe
