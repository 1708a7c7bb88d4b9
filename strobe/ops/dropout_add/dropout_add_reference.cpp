#include "strobe/ops/dropout_add/dropout_add_reference.h"

namespace strobe {

double dropout_factor_reference(const Dropout& dropout, int64_t element) {
  if (!dropout.active()) return 1;
  const int64_t counter = element / 16, byte = element % 16;
  const PhiloxWords words = philox(
      {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, dropout.key);
  const uint32_t value = words.word[byte / 4] >> (8 * (byte % 4)) & 0xff;
  return value < dropout.threshold ? 0 : 1 / (1 - dropout.probability());
}

std::vector<double> dropout_add_forward_reference(std::span<const double> x,
                                                  std::span<const double> residual,
                                                  const Dropout& dropout) {
  std::vector<double> y(x.size());
  for (size_t e = 0; e < x.size(); ++e) {
    const double factor = dropout_factor_reference(dropout, static_cast<int64_t>(e));
    y[e] = (residual.empty() ? 0 : residual[e]) + (factor == 0 ? 0 : factor * x[e]);
  }
  return y;
}

std::vector<double> dropout_add_backward_reference(std::span<const double> dy,
                                                   const Dropout& dropout) {
  return dropout_add_forward_reference(dy, {}, dropout);
}

}  // namespace strobe
