#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "strobe/core/random.h"

namespace strobe {

// The definition of dropout with residual add, in double, element by element.
// Z of element e: 0 or 1/keep, 1 without dropout.
double dropout_factor_reference(const Dropout& dropout, int64_t element);

// An empty residual stands for 0.
std::vector<double> dropout_add_forward_reference(std::span<const double> x,
                                                  std::span<const double> residual,
                                                  const Dropout& dropout);
std::vector<double> dropout_add_backward_reference(std::span<const double> dy,
                                                   const Dropout& dropout);

}  // namespace strobe
