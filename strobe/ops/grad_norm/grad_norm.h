#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// norm = the Euclidean norm of all gradients together: f32 tensors, contiguous; squared and summed
// in double, in an order that does not depend on the number of threads. `norm` is f32 and of one
// element; infinite or NaN when a gradient is, or when the norm is beyond f32.
void grad_norm(Context& ctx, std::span<const Tensor> gradients, const Tensor& norm);

struct GradNormImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, std::span<const Tensor> gradients, const Tensor& norm);
};
std::span<const GradNormImpl> grad_norm_impls();  // of all devices
std::span<const GradNormImpl> grad_norm_impls_cpu();
std::span<const GradNormImpl> grad_norm_impls_cuda();

}  // namespace strobe
