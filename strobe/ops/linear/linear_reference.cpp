#include "strobe/ops/linear/linear_reference.h"

namespace strobe {
namespace {

// Where element [k, n] of a [K, N] matrix lies.
struct WeightLayout {
  int64_t inner, columns;
  bool transposed;
  int64_t at(int64_t k, int64_t n) const { return transposed ? n * inner + k : k * columns + n; }
};

}  // namespace

std::vector<double> linear_forward_reference(std::span<const double> x,
                                             std::span<const double> weight,
                                             std::span<const double> bias, int64_t inner,
                                             bool transposed) {
  const int64_t rows = static_cast<int64_t>(x.size()) / inner;
  const int64_t columns = static_cast<int64_t>(weight.size()) / inner;
  const WeightLayout layout = {inner, columns, transposed};
  std::vector<double> y(rows * columns);
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < columns; ++n) {
      double sum = bias.empty() ? 0 : bias[n];
      for (int64_t k = 0; k < inner; ++k) sum += x[m * inner + k] * weight[layout.at(k, n)];
      y[m * columns + n] = sum;
    }
  }
  return y;
}

LinearGradients linear_backward_reference(std::span<const double> x, std::span<const double> weight,
                                          std::span<const double> dy, int64_t inner,
                                          bool transposed) {
  const int64_t rows = static_cast<int64_t>(x.size()) / inner;
  const int64_t columns = static_cast<int64_t>(weight.size()) / inner;
  const WeightLayout layout = {inner, columns, transposed};
  LinearGradients result{std::vector<double>(x.size()), std::vector<double>(weight.size()),
                         std::vector<double>(columns)};
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < columns; ++n) {
      const double grad = dy[m * columns + n];
      result.dbias[n] += grad;
      for (int64_t k = 0; k < inner; ++k) {
        result.dx[m * inner + k] += grad * weight[layout.at(k, n)];
        result.dweight[layout.at(k, n)] += grad * x[m * inner + k];
      }
    }
  }
  return result;
}

}  // namespace strobe
