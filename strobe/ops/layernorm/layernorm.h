#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Layer normalisation over the last dimension (Ba et al. 2016):
//   y = (x − mean)·rstd·weight + bias,   rstd = 1/sqrt(variance + epsilon)
// and, where `branch` is given, in the same pass the sum before it that ends a half of a block:
//   x := residual + Z∘branch,   Z = 0 or 1/keep by position, 1 without dropout
// Z is that of strobe/core/element_dropout.h; x is rounded to its type before it is normalised, so
// the results are those of the two ops one after the other, to the bit.
// Statistics in f32. x, y and branch are f32 or bf16 (on a GPU also f16), contiguous; parameters
// and statistics are f32.
struct LayernormForward {
  Tensor x;             // [rows, C]   read; set where `branch` is given
  Tensor weight, bias;  // [C] f32
  Tensor y;             // [rows, C] like x   set
  Tensor mean, rstd;    // [rows] f32         set
  float epsilon = 1e-5f;
  Tensor branch;    // [rows, C] like x, or absent; x may be branch itself
  Tensor residual;  // [rows, C] like x, or absent: 0; only with branch; x may be residual itself
  Dropout dropout;  // of branch
};

// The mirror image: dx is the gradient of x, which with x = residual + Z∘branch is residual's, too.
struct LayernormBackward {
  Tensor x, weight, mean, rstd, dy;  // as in the forward pass; dy like x
  Tensor dresidual;  // [rows, C] like x, or absent: the gradient that bypasses the layer, added
  Tensor dx;         // [rows, C] like x      set; may be dresidual itself
  Tensor dweight, dbias;  // [C] f32        added to when `accumulate`, else set
  bool accumulate = false;
  Tensor dbranch;   // [rows, C] like x, or absent: set to Z∘dx, dx as rounded; may be dy itself
  Dropout dropout;  // the same as in the forward pass
};

void layernorm_forward(Context& ctx, const LayernormForward& args);
void layernorm_backward(Context& ctx, const LayernormBackward& args);

using LayernormImpl = OpImpl<LayernormForward, LayernormBackward>;
std::span<const LayernormImpl> layernorm_impls();  // of all devices
std::span<const LayernormImpl> layernorm_impls_cpu();
std::span<const LayernormImpl> layernorm_impls_cuda();

}  // namespace strobe
