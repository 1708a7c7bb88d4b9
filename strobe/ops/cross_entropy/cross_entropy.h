#pragma once

#include <cstdint>
#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

constexpr int32_t kIgnoredLabel = -100;  // positions with this label do not count

// loss[i] = logsumexp(logits[i]) − logits[i, labels[i]], 0 where the label is ignored; and in the
// same pass, in place, the gradient of gradient_scale · Σ loss:
//   logits[i, j] := gradient_scale · (softmax(logits[i])[j] − [j = labels[i]]), 0 where ignored
// The caller gives logits in chunks of rows (one chunk's buffer serves all), so no second buffer of
// the logits' size exists. logits: f32 or bf16, last dimension contiguous; arithmetic in f32.
// A logit of −∞ is a probability of 0; NaN or +∞ in a row makes its loss NaN.
struct CrossEntropy {
  Tensor logits;  // [rows, V]       replaced by the gradient when `gradient_scale` is not 0
  Tensor labels;  // [rows] i32: in [0, V), or kIgnoredLabel; another value throws Error
  Tensor loss;    // [rows] f32      set
  float gradient_scale = 0;  // 0: the loss only, logits stay
};

void cross_entropy(Context& ctx, const CrossEntropy& args);

struct CrossEntropyImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const CrossEntropy&);
};
std::span<const CrossEntropyImpl> cross_entropy_impls();  // of all devices
std::span<const CrossEntropyImpl> cross_entropy_impls_cpu();
std::span<const CrossEntropyImpl> cross_entropy_impls_cuda();

}  // namespace strobe
