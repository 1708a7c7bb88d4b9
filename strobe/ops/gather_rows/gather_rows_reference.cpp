#include "strobe/ops/gather_rows/gather_rows_reference.h"

namespace strobe {

std::vector<double> gather_rows_reference(std::span<const double> x,
                                          std::span<const int32_t> indices, int64_t columns) {
  std::vector<double> out;
  for (const int32_t index : indices) {
    for (int64_t c = 0; c < columns; ++c) out.push_back(x[index * columns + c]);
  }
  return out;
}

}  // namespace strobe
