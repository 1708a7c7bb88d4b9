#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace strobe {

// The definition of cross entropy, in double: logits [rows, V], labels [rows], ignored where
// negative; `gradient` is that of gradient_scale·Σ loss with respect to the logits.
struct CrossEntropyReference {
  std::vector<double> loss, gradient;
};
CrossEntropyReference cross_entropy_reference(std::span<const double> logits,
                                              std::span<const int32_t> labels,
                                              double gradient_scale);

}  // namespace strobe
