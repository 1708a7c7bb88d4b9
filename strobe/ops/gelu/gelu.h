#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// GELU in its tanh form (Hendrycks & Gimpel 2016; GPT-2's "gelu_new"):
//   y = ½x(1 + tanh(√(2/π)·(x + 0.044715x³)))
// Linear layers do the same within their own passes (strobe/ops/linear/linear.h): this is for what
// a backward pass computes again, and for layers of other kinds.
// Tensors are alike, f32 or bf16 (on a GPU also f16), contiguous, of any shape; arithmetic in f32.
struct GeluForward {
  Tensor x;
  Tensor y;  // set
};

struct GeluBackward {
  Tensor x;  // as in the forward pass
  Tensor dy;
  Tensor dx;  // set; may be dy itself
};

void gelu_forward(Context& ctx, const GeluForward& args);
void gelu_backward(Context& ctx, const GeluBackward& args);

using GeluImpl = OpImpl<GeluForward, GeluBackward>;
std::span<const GeluImpl> gelu_impls();  // of all devices
std::span<const GeluImpl> gelu_impls_cpu();
std::span<const GeluImpl> gelu_impls_cuda();

}  // namespace strobe
