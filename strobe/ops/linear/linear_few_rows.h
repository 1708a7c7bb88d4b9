#pragma once

#include "strobe/ops/linear/linear.h"
#include "strobe/ops/linear/linear_few_rows_kernels.h"

namespace strobe {

// Where x has so few rows that reading the weight is all that costs: one token of each of a few
// sequences. Measured against oneDNN in linear_few_rows.cpp.
inline bool has_few_rows(const LinearForward& args) { return args.x.shape[0] <= kMostFewRows; }

// linear_forward for few rows: the weight is read once, by all threads, whatever its type and
// layout. A row of y has the same bits whatever rows are beside it, up to kMostFewRows.
void few_rows_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table);

// linear_forward for more rows of x in f32 with a 16-bit weight: some columns at a time are widened
// into f32 for oneDNN.
void widened_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table);

}  // namespace strobe
