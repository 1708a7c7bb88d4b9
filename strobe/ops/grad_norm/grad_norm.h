#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// The Euclidean norm of all gradients together: f32 tensors, contiguous; summed in double, in an
// order that does not depend on the number of threads. Infinite or NaN when an element is.
double grad_norm(Context& ctx, std::span<const Tensor> gradients);

// The factor that brings a gradient of this norm to at most `max_norm` (as PyTorch's
// clip_grad_norm_: min(1, max_norm/(norm + 1e-6))); 1 when max_norm is 0 (no clipping).
float clip_factor(double norm, double max_norm);

struct GradNormImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  double (*run)(Context&, std::span<const Tensor>);
};
std::span<const GradNormImpl> grad_norm_impls();

}  // namespace strobe
