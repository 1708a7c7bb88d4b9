#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

#include <algorithm>
#include <initializer_list>

#include "strobe/ops/attention/cuda/portable/flash_portable.h"
#include "strobe/ops/attention/cuda/sm90/flash_sm90_choice.h"

namespace strobe {

std::span<const Sm90Variant<AttentionForward>> flash_forward_sm90_variants() {
  static constexpr std::initializer_list<Sm90Variant<AttentionForward>> kVariants = {
#include "strobe/ops/attention/cuda/variants/launch_attention_forward_flash_sm90.inc"
  };
  return {kVariants.begin(), kVariants.size()};
}

namespace {

const Sm90Variant<AttentionForward>* forward_variant(DType dtype, int64_t head_dim) {
  return find_variant(flash_forward_sm90_variants(), dtype, head_dim);
}
const Sm90Variant<AttentionBackward>* backward_variant(DType dtype, int64_t head_dim,
                                                       bool is_deterministic) {
  return sm90_backward_variant(flash_backward_sm90_variants(), dtype, head_dim, is_deterministic);
}
const Sm90Variant<AttentionBackward>* backward_variant(const AttentionProblem& p) {
  return backward_variant(p.dtype, p.head_dim, p.is_deterministic);
}

std::string why_not(const AttentionProblem& p, const Device& device) {
  std::string reason = why_not_cuda(device, kSm90Capability);
  if (!reason.empty()) return reason;
  const CudaInfo& info = cuda_info(device.index);
  reason = why_not_sm90(p, info.capability, flash_forward_sm90_variants());
  if (!reason.empty()) return reason;
  if (!p.needs_backward || backward_variant(p) != nullptr) return "";
  return why_not_flash_backward(p, PortableArch::sm80, info);
}

int64_t workspace_bytes(const AttentionProblem& p) {
  constexpr int64_t kCounter = sizeof(int);  // of the forward pass
  if (!p.needs_backward) return kCounter;
  return std::max(kCounter, backward_variant(p) != nullptr
                                ? flash_backward_sm90_workspace_bytes(p)
                                : flash_backward_workspace_bytes(p, PortableArch::sm80));
}

int64_t saved_bytes(const AttentionProblem&) { return 0; }

void forward(Context& ctx, const AttentionForward& args) {
  forward_variant(args.q.dtype, args.q.shape[3])->launch(ctx, args);
}

void backward(Context& ctx, const AttentionBackward& args) {
  const auto* variant = backward_variant(args.q.dtype, args.q.shape[3], ctx.is_deterministic());
  if (variant != nullptr) {
    variant->launch(ctx, args);
  } else {
    flash_backward(ctx, args, PortableArch::sm80);
  }
}

}  // namespace

const AttentionImpl kCudaFlashSm90 = {.name = "cuda_flash_sm90",
                                      .algorithm = Algorithm::flash,
                                      .why_not = &why_not,
                                      .saved_bytes = &saved_bytes,
                                      .workspace_bytes = &workspace_bytes,
                                      .forward = &forward,
                                      .backward = &backward,
                                      .decode = nullptr};

}  // namespace strobe
