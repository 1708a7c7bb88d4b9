#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// One AdamW step on all parameters (Loshchilov & Hutter 2019, Alg. 2; as PyTorch's AdamW):
//   g = gradient_scale·gradient;  m = β1·m + (1−β1)·g;  v = β2·v + (1−β2)·g²
//   w = w·(1 − lr·weight_decay) − lr·m̂/(√v̂ + epsilon),  m̂ = m/(1−β1^step), v̂ = v/(1−β2^step)
// and, in the same pass, the 16-bit working copy of w. A parameter's tensors are contiguous and
// alike in shape.
struct AdamWParameter {
  Tensor master;    // f32                                     updated
  Tensor working;   // f16 or bf16 copy of master, or absent   set
  Tensor gradient;  // f32
  Tensor m, v;      // f32                                     updated; before the first step: zero
  bool decays = false;  // else its weight_decay is 0: biases and layernorm
};

// What changes from step to step is read from tensors of one element, so that a recorded step can
// be replayed; update_grad_scaler() sets all of them but the learning rate.
struct AdamWStep {
  Tensor learning_rate;   // f32
  Tensor gradient_scale;  // f32: takes the loss scale out, and clips
  Tensor step;            // i32: counted from 1
  Tensor is_skipped;      // i32: where it is not 0, nothing changes
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0;
};

void adamw(Context& ctx, std::span<const AdamWParameter> parameters, const AdamWStep& step);

struct AdamWImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, std::span<const AdamWParameter>, const AdamWStep&);
};
std::span<const AdamWImpl> adamw_impls();  // of all devices
std::span<const AdamWImpl> adamw_impls_cpu();
std::span<const AdamWImpl> adamw_impls_cuda();

}  // namespace strobe
