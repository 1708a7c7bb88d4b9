#pragma once

#include "strobe/ops/linear/linear.h"
#include "strobe/ops/linear/linear_few_rows_kernels.h"

namespace strobe {

// Where x has so few rows that reading the weight is nearly all that costs: one token of each of a
// few sequences. Time over that of the matrix product, 4 threads of a Zen 5, weights from memory:
//                              M =   1     2     4     8    16
//   f32  [768, 768]                 1.0   1.0   1.1   1.1   1.1
//   f32  transpose of [50257, 768]  0.7   0.7   0.7   0.7   1.3
//   bf16 [768, 768]                 0.5   0.7   0.7   1.0   1.3
//   bf16 transpose of [50257, 768]  0.6   0.5   0.6   0.7   1.8
//   f16  [768, 768]                 0.2   0.2   0.2   0.3   0.4   (widened first)
//   f16  transpose of [50257, 768]  0.3   0.5   0.4   0.4   0.6   (widened first)
inline bool has_few_rows(const LinearForward& args) {
  const bool is_widened = args.weight.dtype != args.x.dtype;
  return args.x.shape[0] <= (is_widened ? kMostWidenedRows : kMostFewRows);
}

// linear_forward for few rows: the weight is read once, by all threads, whatever its type and
// layout. A row of y has the same bits whatever rows are beside it.
void few_rows_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table);

// linear_forward for more rows of x in f32 with a 16-bit weight: some columns at a time are widened
// into f32 for oneDNN.
void widened_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table);

}  // namespace strobe
