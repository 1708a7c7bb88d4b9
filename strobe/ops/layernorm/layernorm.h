#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Layer normalisation over the last dimension (Ba et al. 2016):
//   y = (x − mean)·rstd·weight + bias,   rstd = 1/sqrt(variance + epsilon)
// Statistics in f32. x and y are f32 or bf16, contiguous; all the rest is f32.
struct LayernormForward {
  Tensor x;             // [rows, C]
  Tensor weight, bias;  // [C] f32
  Tensor y;             // [rows, C] like x   set
  Tensor mean, rstd;    // [rows] f32         set
  float epsilon = 1e-5f;
};

struct LayernormBackward {
  Tensor x, weight, mean, rstd, dy;  // as in the forward pass; dy like x
  Tensor
      dresidual;  // [rows, C] like x, or absent: the gradient that bypasses the layer, added to dx
  Tensor dx;      // [rows, C] like x      set; may be dresidual itself
  Tensor dweight, dbias;  // [C] f32        added to when `accumulate`, else set
  bool accumulate = false;
};

void layernorm_forward(Context& ctx, const LayernormForward& args);
void layernorm_backward(Context& ctx, const LayernormBackward& args);

using LayernormImpl = OpImpl<LayernormForward, LayernormBackward>;
std::span<const LayernormImpl> layernorm_impls();

}  // namespace strobe
