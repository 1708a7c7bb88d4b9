#include "strobe/ops/layernorm/layernorm_reference.h"

#include <cmath>
#include <cstddef>

#include "strobe/core/element_dropout.h"

namespace strobe {

std::vector<double> add_dropped_reference(std::span<const double> branch,
                                          std::span<const double> residual,
                                          const Dropout& dropout) {
  std::vector<double> sum(branch.size());
  for (size_t e = 0; e < sum.size(); ++e) {
    const bool keeps =
        dropout_keeps_element(dropout.threshold, dropout.key, static_cast<int64_t>(e));
    sum[e] = (residual.empty() ? 0 : residual[e]) +
             (keeps ? branch[e] / (1 - dropout.probability()) : 0);
  }
  return sum;
}

LayernormReference layernorm_forward_reference(std::span<const double> x,
                                               std::span<const double> weight,
                                               std::span<const double> bias, double epsilon) {
  const size_t columns = weight.size(), rows = x.size() / columns;
  LayernormReference result;
  result.y.resize(x.size());
  for (size_t row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < columns; ++c) mean += x[row * columns + c] / columns;
    for (size_t c = 0; c < columns; ++c) {
      variance += std::pow(x[row * columns + c] - mean, 2) / columns;
    }
    const double rstd = 1 / std::sqrt(variance + epsilon);
    for (size_t c = 0; c < columns; ++c) {
      result.y[row * columns + c] = (x[row * columns + c] - mean) * rstd * weight[c] + bias[c];
    }
    result.mean.push_back(mean);
    result.rstd.push_back(rstd);
  }
  return result;
}

LayernormGradients layernorm_backward_reference(std::span<const double> x,
                                                std::span<const double> weight,
                                                std::span<const double> dy, double epsilon) {
  const size_t columns = weight.size(), rows = x.size() / columns;
  const std::vector<double> ones(columns, 1.0), zeros(columns, 0.0);
  const LayernormReference normal = layernorm_forward_reference(x, ones, zeros, epsilon);
  LayernormGradients result{std::vector<double>(x.size()), zeros, zeros};
  for (size_t row = 0; row < rows; ++row) {
    double mean_g = 0, mean_gx = 0;  // of g = dy·weight, and of g·normal
    for (size_t c = 0; c < columns; ++c) {
      const size_t i = row * columns + c;
      mean_g += dy[i] * weight[c] / columns;
      mean_gx += dy[i] * weight[c] * normal.y[i] / columns;
      result.dweight[c] += dy[i] * normal.y[i];
      result.dbias[c] += dy[i];
    }
    for (size_t c = 0; c < columns; ++c) {
      const size_t i = row * columns + c;
      result.dx[i] = normal.rstd[row] * (dy[i] * weight[c] - mean_g - normal.y[i] * mean_gx);
    }
  }
  return result;
}

}  // namespace strobe
