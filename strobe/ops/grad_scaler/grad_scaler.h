#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Dynamic loss scaling and clipping, between grad_norm() and adamw(): nothing of it needs the host.
// The loss is multiplied by loss_scale so that gradients in f16 do not vanish; gradients that are
// infinite or NaN mean that it was too large. As PyTorch's GradScaler:
//   finite:  the step is taken; after growth_interval such steps in a row, loss_scale grows
//   else:    the step is skipped, and loss_scale backs off
//
// All tensors have one element. The state goes on from step to step; its first values are a
// loss_scale and zeros.
struct GradScalerState {
  Tensor loss_scale;     // f32: of the next forward pass (PyTorch begins with 65536)
  Tensor finite_steps;   // i32: in a row, since loss_scale last changed
  Tensor steps_taken;    // i32: Adam's step
  Tensor steps_skipped;  // i32
};

struct GradScaler {
  Tensor norm;            // f32: of the gradients of loss_scale · loss
  GradScalerState state;  //      updated
  Tensor unscaled_norm;   // f32: norm/loss_scale, of the gradients of the loss    set
  Tensor gradient_scale;  // f32: what AdamW multiplies the gradients by           set
                          //      = min(1, max_norm/(unscaled_norm + 1e-6))/loss_scale
  Tensor is_skipped;      // i32: 1 where the norm is not finite, else 0           set
  float max_norm = 0;     // gradients are clipped to it; 0: they are not
  float growth_factor = 2, backoff_factor = 0.5f;
  int growth_interval = 2000;  // 0: loss_scale stays as it is, as f32 and bf16 need it
};

void update_grad_scaler(Context& ctx, const GradScaler& args);

struct GradScalerImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const GradScaler&);
};
std::span<const GradScalerImpl> grad_scaler_impls();  // of all devices
std::span<const GradScalerImpl> grad_scaler_impls_cpu();
std::span<const GradScalerImpl> grad_scaler_impls_cuda();

}  // namespace strobe
