#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace strobe {

// The definition of the embedding, in double. Tables are [V, C] and [P, C]; tokens and positions
// have one element for each row of out.
std::vector<double> embedding_forward_reference(std::span<const int32_t> tokens,
                                                std::span<const int32_t> positions,
                                                std::span<const double> token_table,
                                                std::span<const double> position_table,
                                                int64_t columns);

// Adds to both tables' gradients.
void embedding_backward_reference(std::span<const int32_t> tokens,
                                  std::span<const int32_t> positions, std::span<const double> dout,
                                  std::span<double> dtoken_table, std::span<double> dposition_table,
                                  int64_t columns);

}  // namespace strobe
