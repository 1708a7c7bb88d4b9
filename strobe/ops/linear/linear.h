#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// y = x·weight + bias, then optionally GELU: a fully connected layer. Products accumulate in f32.
// x, weight and y are alike, f32, f16 (on a GPU) or bf16; logits may be f32 with 16-bit operands.
// Forward, a weight in f16 or bf16 also goes with x and y in f32, as inference from files of those
// types needs it. The last dimension of x and y is contiguous; `weight` is a view whose one
// dimension is contiguous: GPT-2's Conv1D stores [K, N]; a PyTorch Linear or a tied embedding
// [N, K] is passed as its transpose.
//
// Few rows of x are multiplied by kernels that read the weight once, and each row of y has the same
// bits whatever rows are beside it, on any number of threads. Few are up to 8; on a CPU 16 in f32
// with a 16-bit weight; on a GPU 32 of 16-bit operands whose rows begin at multiples of 16 bytes.
// With more rows, sums may be made in another order.
//
// On a GPU, a matrix is multiplied at full speed only where its rows begin so: logits of an odd
// vocabulary are best a slice of something wider. With more than a few rows, the bias of a 16-bit y
// is rounded to its type first; and so is, where rows do not begin so, what GELU or its derivative
// is applied to. The implementation "cuda_tf32" may round f32 operands to tf32.
struct LinearForward {
  Tensor x;               // [M, K]
  Tensor weight;          // [K, N]
  Tensor bias;            // [N] f32, or absent
  Tensor y;               // [M, N]   set
  bool gelu = false;      // y = gelu_tanh(x·weight + bias)
  Tensor pre_activation;  // [M, N] like y, or absent; set to x·weight + bias (only with gelu)
};

struct LinearBackward {
  Tensor x, weight;  // as in the forward pass
  Tensor dy;         // [M, N] like x: the gradient of x·weight + bias
  // [M, K] like x, or absent: where x = gelu(gelu_input), dx is the gradient of gelu_input.
  Tensor gelu_input;
  Tensor dx;       // [M, K] like x, or absent       set
  Tensor dweight;  // [K, N] f32, strides like weight  added to when `accumulate`, else set
  Tensor dbias;    // [N] f32, or absent             likewise
  bool accumulate = false;
};

void linear_forward(Context& ctx, const LinearForward& args);
void linear_backward(Context& ctx, const LinearBackward& args);

using LinearImpl = OpImpl<LinearForward, LinearBackward>;
std::span<const LinearImpl> linear_impls();  // of all devices
std::span<const LinearImpl> linear_impls_cpu();
std::span<const LinearImpl> linear_impls_cuda();

}  // namespace strobe
