#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace strobe {

// The definition of a fully connected layer, in double. x is [M, K] row-major; weight is [K, N],
// row-major, or [N, K] where `transposed` (a PyTorch Linear, a tied embedding). An empty bias is 0.
std::vector<double> linear_forward_reference(std::span<const double> x,
                                             std::span<const double> weight,
                                             std::span<const double> bias, int64_t inner,
                                             bool transposed = false);

struct LinearGradients {
  std::vector<double> dx, dweight, dbias;  // dweight laid out like weight
};
LinearGradients linear_backward_reference(std::span<const double> x, std::span<const double> weight,
                                          std::span<const double> dy, int64_t inner,
                                          bool transposed = false);

}  // namespace strobe
