#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace strobe {

// The definition of gather_rows: x is [rows, columns].
std::vector<double> gather_rows_reference(std::span<const double> x,
                                          std::span<const int32_t> indices, int64_t columns);

}  // namespace strobe
