#include "strobe/ops/cross_entropy/cross_entropy_reference.h"

#include <algorithm>
#include <cmath>

namespace strobe {

CrossEntropyReference cross_entropy_reference(std::span<const double> logits,
                                              std::span<const int32_t> labels,
                                              double gradient_scale) {
  CrossEntropyReference result{std::vector<double>(labels.size(), 0.0),
                               std::vector<double>(logits.size(), 0.0)};
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0) continue;
    const size_t vocab = logits.size() / labels.size();
    const std::span<const double> x = logits.subspan(row * vocab, vocab);
    const double largest = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const double v : x) sum += std::exp(v - largest);
    const double lse = largest + std::log(sum);
    result.loss[row] = lse - x[labels[row]];
    for (size_t j = 0; j < vocab; ++j) {
      const double target = static_cast<int32_t>(j) == labels[row] ? 1 : 0;
      result.gradient[row * vocab + j] = gradient_scale * (std::exp(x[j] - lse) - target);
    }
  }
  return result;
}

}  // namespace strobe
