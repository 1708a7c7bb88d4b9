#pragma once

#include "strobe/ops/linear/linear.h"

namespace strobe {

// linear_forward on a GPU for any number of rows, kMostFewRowsCuda at a time: each time the weight
// is read once, whatever its type and layout. A row of y has the same bits whatever rows are beside
// it. For more rows cuBLASLt is better, which knows no weight of another type than x.
constexpr int64_t kMostFewRowsCuda = 8;
void few_rows_forward_cuda(Context& ctx, const LinearForward& args);

}  // namespace strobe
