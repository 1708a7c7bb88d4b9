#include "strobe/ops/embedding/embedding_reference.h"

namespace strobe {

std::vector<double> embedding_forward_reference(std::span<const int32_t> tokens,
                                                std::span<const int32_t> positions,
                                                std::span<const double> token_table,
                                                std::span<const double> position_table,
                                                int64_t columns) {
  std::vector<double> out;
  out.reserve(tokens.size() * columns);
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (int64_t c = 0; c < columns; ++c) {
      out.push_back(token_table[tokens[i] * columns + c] +
                    position_table[positions[i] * columns + c]);
    }
  }
  return out;
}

void embedding_backward_reference(std::span<const int32_t> tokens,
                                  std::span<const int32_t> positions, std::span<const double> dout,
                                  std::span<double> dtoken_table, std::span<double> dposition_table,
                                  int64_t columns) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (int64_t c = 0; c < columns; ++c) {
      dtoken_table[tokens[i] * columns + c] += dout[i * columns + c];
      dposition_table[positions[i] * columns + c] += dout[i * columns + c];
    }
  }
}

}  // namespace strobe
