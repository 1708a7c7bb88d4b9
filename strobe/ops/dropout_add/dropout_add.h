#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Dropout with residual add: y = residual + Z∘x, Z = 0 or 1/keep by position, 1 without dropout.
// Which elements fall: strobe/core/element_dropout.h.
// Tensors are alike, f32 or bf16 (on a GPU also f16), contiguous, of any shape; arithmetic in f32.
struct DropoutAddForward {
  Tensor x;
  Tensor residual;  // or absent: 0
  Tensor y;         // set; may be x or residual itself
  Dropout dropout;
};

struct DropoutAddBackward {
  Tensor dy;
  Tensor dx;        // set to Z∘dy; may be dy itself. The residual's gradient is dy.
  Dropout dropout;  // the same as in the forward pass
};

void dropout_add_forward(Context& ctx, const DropoutAddForward& args);
void dropout_add_backward(Context& ctx, const DropoutAddBackward& args);

using DropoutAddImpl = OpImpl<DropoutAddForward, DropoutAddBackward>;
std::span<const DropoutAddImpl> dropout_add_impls();  // of all devices
std::span<const DropoutAddImpl> dropout_add_impls_cpu();
std::span<const DropoutAddImpl> dropout_add_impls_cuda();

}  // namespace strobe
