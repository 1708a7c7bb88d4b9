#include <initializer_list>

#include "strobe/ops/attention/cuda/sm90/flash_backward_plan.h"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

namespace strobe {

std::span<const Sm90Variant<AttentionBackward>> flash_backward_sm90_variants() {
  static constexpr std::initializer_list<Sm90Variant<AttentionBackward>> kVariants = {
#include "strobe/ops/attention/cuda/variants/launch_attention_backward_flash_sm90.inc"
  };
  return {kVariants.begin(), kVariants.size()};
}

int64_t flash_backward_sm90_workspace_bytes(const AttentionProblem& p) {
  const auto* variant = find_variant(flash_backward_sm90_variants(), p.dtype, p.head_dim);
  constexpr int kAnyProcessors = 1, kAnyCache = 0;  // memory does not depend on them
  return FlashBackwardSm90Plan(p, variant->head_dim, kAnyProcessors, kAnyCache).bytes();
}

}  // namespace strobe
