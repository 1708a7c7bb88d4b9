#pragma once

#include <cstdint>
#include <vector>

#include "strobe/ops/sample/sample.h"

namespace strobe {

// The definition of sample, in double: each token's share of the interval [0, 1), 0 where it is cut
// off, and the number that points into it.
std::vector<double> sample_shares(const std::vector<double>& logits, const SamplerOptions& options);
double sample_pointer(uint64_t seed, int64_t index);

}  // namespace strobe
