#pragma once

#include <cstdint>
#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

constexpr int32_t kIgnoredLabel = -100;  // positions with this label do not count

// loss[i] = logsumexp(logits[i]) − logits[i, labels[i]], 0 where the label is ignored; and in the
// same pass, in place, the gradient of g · Σ loss, g = gradient_scale · scale:
//   logits[i, j] := g · (softmax(logits[i])[j] − [j = labels[i]]), 0 where ignored
// The caller gives logits in chunks of rows (one chunk's buffer serves all), so no second buffer of
// the logits' size exists. logits: f32 or bf16 (on a GPU also f16), last dimension contiguous, rows
// at any stride from V on; arithmetic in f32.
// A logit of −∞ is a probability of 0; NaN or +∞ in a row makes its loss NaN.
//
// Another label throws Error where the host can read it. In the memory of a GPU it cannot: such a
// row's loss is NaN and its gradient 0.
struct CrossEntropy {
  Tensor logits;  // [rows, V]       replaced by the gradient when `gradient_scale` is not 0
  Tensor labels;  // [rows] i32: in [0, V), or kIgnoredLabel
  Tensor loss;    // [rows] f32      set
  float gradient_scale = 0;  // 0: the loss only, logits stay
  Tensor scale;  // [1] f32, or absent: 1. Read when the op runs, not when it is put on a stream
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
