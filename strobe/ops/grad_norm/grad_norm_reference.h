#pragma once

#include <span>

namespace strobe {

// The definition of the Euclidean norm, in extended precision.
double grad_norm_reference(std::span<const double> gradient);

}  // namespace strobe
