#include "strobe/ops/grad_norm/grad_norm_reference.h"

#include <cmath>

namespace strobe {

double grad_norm_reference(std::span<const double> gradient) {
  long double sum = 0;
  for (const double g : gradient) sum += static_cast<long double>(g) * g;
  return static_cast<double>(std::sqrt(sum));
}

}  // namespace strobe
