#pragma once

#include <cstdint>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Adds to `sum`, in GPU memory, a number that two matrices share only if all their bits are equal,
// but for chance. One of the two dimensions is contiguous.
void add_checksum(Context& ctx, const Tensor& matrix, uint64_t* sum);

}  // namespace strobe
