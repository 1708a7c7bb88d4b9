#pragma once

#include <span>
#include <vector>

namespace strobe {

// The definition of GELU (tanh form), in double.
std::vector<double> gelu_forward_reference(std::span<const double> x);
std::vector<double> gelu_backward_reference(std::span<const double> x, std::span<const double> dy);

}  // namespace strobe
