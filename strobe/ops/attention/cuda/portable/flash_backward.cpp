#include "strobe/ops/attention/cuda/portable/flash_backward_plan.h"
#include "strobe/ops/attention/cuda/portable/flash_portable.h"

namespace strobe {

std::span<const PortableVariant<AttentionBackward>> flash_backward_variants() {
  static constexpr PortableVariant<AttentionBackward> kVariants[] = {
#include "strobe/ops/attention/cuda/variants/launch_attention_backward_flash_portable.inc"
  };
  return kVariants;
}

int64_t flash_backward_workspace_bytes(const AttentionProblem& p, PortableArch arch) {
  const auto* variant = find_variant(flash_backward_variants(), p.dtype, p.head_dim, arch);
  return FlashBackwardPlan(p, variant->head_dim, arch).bytes();
}

void flash_backward(Context& ctx, const AttentionBackward& args, PortableArch arch) {
  find_variant(flash_backward_variants(), args.q.dtype, args.q.shape[3], arch)->launch(ctx, args);
}

}  // namespace strobe
