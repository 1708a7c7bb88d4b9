#pragma once

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// What a fully connected layer needs on a GPU beside its matrix products.

// sums (+)= the sums over the rows of each column of x. x: [M, N], rows contiguous; sums: [N] f32.
// The order of a sum depends on M alone.
void sum_columns(Context& ctx, const Tensor& x, const Tensor& sums, bool accumulate);

// y = gelu(x), and dy = dy·gelu′(x): [M, N] of one type, rows contiguous; y may be x itself.
void apply_gelu(Context& ctx, const Tensor& x, const Tensor& y);
void multiply_by_gelu_derivative(Context& ctx, const Tensor& x, const Tensor& dy);

// A bias [N] f32, or absent, in the type that cuBLASLt adds to a y of type `dtype`: itself, or a
// rounded copy in the context's arena.
Tensor rounded_bias(Context& ctx, const Tensor& bias, DType dtype);

}  // namespace strobe
