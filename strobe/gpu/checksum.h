#pragma once

#include <cstdint>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Adds to `sum`, in GPU memory, a number that two matrices (or batches of them) share only if all
// their bits are equal, but for chance. The last dimension or the one before is contiguous.
void add_checksum(Context& ctx, const Tensor& matrix, uint64_t* sum);

}  // namespace strobe
