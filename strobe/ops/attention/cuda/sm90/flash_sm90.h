#pragma once

#include <span>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// The row "cuda_flash_sm90", for Hopper GPUs. Where its backward pass has no variant, it is
// cuda_flash_portable's, which needs nothing but what any forward pass leaves.
extern const AttentionImpl kCudaFlashSm90;

// One compiled variant of a kernel; Arguments is AttentionForward or AttentionBackward. The table
// is generated with the variants, by cmake/variants.cmake.
template <class Arguments>
struct Sm90Variant {
  DType dtype;
  int head_dim;
  void (*launch)(Context&, const Arguments&);
};

std::span<const Sm90Variant<AttentionForward>> flash_forward_sm90_variants();
std::span<const Sm90Variant<AttentionBackward>> flash_backward_sm90_variants();

// The variant with the least head_dim that is enough; null where there is none.
template <class Arguments>
const Sm90Variant<Arguments>* find_variant(std::span<const Sm90Variant<Arguments>> variants,
                                           DType dtype, int64_t head_dim) {
  const Sm90Variant<Arguments>* best = nullptr;
  for (const Sm90Variant<Arguments>& variant : variants) {
    if (variant.dtype != dtype || variant.head_dim < head_dim) continue;
    if (best == nullptr || variant.head_dim < best->head_dim) best = &variant;
  }
  return best;
}

// Of a problem that has a variant.
int64_t flash_backward_sm90_workspace_bytes(const AttentionProblem& p);

// What they are instances of: flash_forward_launch.cuh and flash_backward_launch.cuh.
template <class T, int kHeadDim>
void launch_attention_forward_flash_sm90(Context& ctx, const AttentionForward& args);
template <class T, int kHeadDim>
void launch_attention_backward_flash_sm90(Context& ctx, const AttentionBackward& args);

}  // namespace strobe
