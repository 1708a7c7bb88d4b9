#pragma once

#include <cstdint>
#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// One AdamW step on one parameter (Loshchilov & Hutter 2019, Alg. 2; as PyTorch's AdamW):
//   g = gradient_scale·gradient;  m = β1·m + (1−β1)·g;  v = β2·v + (1−β2)·g²
//   w = w·(1 − lr·weight_decay) − lr·m̂/(√v̂ + epsilon),  m̂ = m/(1−β1^step), v̂ = v/(1−β2^step)
// and, in the same pass, the 16-bit working copy of w. All contiguous, alike in shape.
struct AdamW {
  Tensor master;    // f32                       updated
  Tensor working;   // bf16 copy of master, or absent   set
  Tensor gradient;  // f32
  Tensor m, v;      // f32                       updated; before the first step: zero
  float learning_rate = 0;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0;    // 0 for biases and layernorm
  float gradient_scale = 1;  // from clipping
  int64_t step = 1;          // counted from 1
};

void adamw(Context& ctx, const AdamW& args);

struct AdamWImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const AdamW&);
};
std::span<const AdamWImpl> adamw_impls();

}  // namespace strobe
