#include <algorithm>

#include "strobe/ops/attention/cuda/portable/flash_backward_plan.h"
#include "strobe/ops/attention/cuda/portable/flash_portable.h"

namespace strobe {

std::span<const PortableVariant<AttentionBackward>> flash_backward_variants() {
  static constexpr PortableVariant<AttentionBackward> kVariants[] = {
#include "strobe/ops/attention/cuda/variants/launch_attention_backward_flash_portable.inc"
  };
  return kVariants;
}

std::string why_not_flash_backward(const AttentionProblem& p, PortableArch arch,
                                   const CudaInfo& info) {
  const auto* variant = find_variant(flash_backward_variants(), p.dtype, p.head_dim, arch);
  const int64_t limit = info.shared_bytes_per_block;
  int64_t needed = 0;
  for (const BackwardSums sums : {BackwardSums::queries, BackwardSums::keys}) {
    needed = std::max<int64_t>(
        needed, flash_backward_least_shared_bytes(size_of(p.dtype) == 2, variant->head_dim,
                                                  p.has_dropout, sums, arch));
  }
  if (needed <= limit) return "";
  return fmt::format(
      "head_dim {} in {} needs {} KiB of shared memory in the backward pass, the "
      "GPU has {}",
      p.head_dim, p.dtype, needed >> 10, limit >> 10);
}

int64_t flash_backward_workspace_bytes(const AttentionProblem& p, PortableArch arch) {
  const auto* variant = find_variant(flash_backward_variants(), p.dtype, p.head_dim, arch);
  return FlashBackwardPlan(p, variant->head_dim, arch, cuda_info().shared_bytes_per_block).bytes();
}

void flash_backward(Context& ctx, const AttentionBackward& args, PortableArch arch) {
  find_variant(flash_backward_variants(), args.q.dtype, args.q.shape[3], arch)->launch(ctx, args);
}

}  // namespace strobe
