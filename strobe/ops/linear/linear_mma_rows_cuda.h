#pragma once

#include "strobe/ops/linear/linear.h"

namespace strobe {

// linear_forward on the tensor cores of sm_80 for up to kMostMmaRows rows and 16-bit operands: the
// weight is read once, and a row of y has the same bits whatever rows are beside it.
constexpr int64_t kMostMmaRows = 32;
// Whether it can: the GPU, the sizes and the alignment of the weight decide.
bool can_use_mma_rows(const Context& ctx, const LinearForward& args);
void mma_rows_forward(Context& ctx, const LinearForward& args);

}  // namespace strobe
