#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

#include <algorithm>
#include <initializer_list>

#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_portable.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"

namespace strobe {

std::span<const Sm90Variant<AttentionForward>> flash_forward_sm90_variants() {
  static constexpr std::initializer_list<Sm90Variant<AttentionForward>> kVariants = {
#include "strobe/ops/attention/cuda/variants/launch_attention_forward_flash_sm90.inc"
  };
  return {kVariants.begin(), kVariants.size()};
}

namespace {

constexpr int kCapability = 90;

const Sm90Variant<AttentionForward>* forward_variant(DType dtype, int64_t head_dim) {
  return find_variant(flash_forward_sm90_variants(), dtype, head_dim);
}
// Null where the portable kernel is called for, which adds up dq in a fixed order if that is asked;
// so does this one up to 128 columns.
const Sm90Variant<AttentionBackward>* backward_variant(DType dtype, int64_t head_dim,
                                                       bool is_deterministic) {
  const auto* variant = find_variant(flash_backward_sm90_variants(), dtype, head_dim);
  const bool is_in_any_order =
      variant != nullptr && flash_backward_sm90_has_roles(variant->head_dim);
  return is_deterministic && is_in_any_order ? nullptr : variant;
}
const Sm90Variant<AttentionBackward>* backward_variant(const AttentionProblem& p) {
  return backward_variant(p.dtype, p.head_dim, p.is_deterministic);
}

// Empty where blocks can count the tiles of all heads in 32 bits.
std::string why_not_tiles(const AttentionProblem& p) {
  constexpr int64_t kMost = int64_t{1} << 30, kLeastRows = 64;
  const int64_t rows = std::max(p.seq_q, p.seq_k);
  const int64_t tiles = most_tiles(rows, p.batch, kLeastRows, p.is_packed) * p.heads_q;
  if (tiles <= kMost) return "";
  return fmt::format("takes up to {} tiles of {} rows in all heads, not {}", kMost, kLeastRows,
                     tiles);
}

std::string why_not(const AttentionProblem& p, const Device& device) {
  std::string reason = why_not_cuda(device, kCapability);
  if (!reason.empty()) return reason;
  const CudaInfo& info = cuda_info(device.index);
  if (info.capability != kCapability) {
    return fmt::format("runs on compute capability 9.0 only, the GPU has {}.{}",
                       info.capability / 10, info.capability % 10);
  }
  if (flash_forward_sm90_variants().empty()) {
    return "no kernels of compute capability 9.0 are compiled";
  }
  if (p.is_decode) return "has no decode pass";
  if (p.dtype != DType::f16 && p.dtype != DType::bf16) {
    return fmt::format("takes f16 and bf16, not {}", p.dtype);
  }
  if (p.has_bias) return "takes no bias";
  if (forward_variant(p.dtype, p.head_dim) == nullptr) {
    const auto& largest = std::ranges::max_element(flash_forward_sm90_variants(), {},
                                                   &Sm90Variant<AttentionForward>::head_dim);
    return fmt::format("head_dim is {}, compiled are those up to {}", p.head_dim,
                       largest->head_dim);
  }
  if (!p.has_aligned_rows) {
    return "rows do not all begin at multiples of 16 bytes, or strides are negative";
  }
  reason = why_not_lengths(p);
  if (reason.empty()) reason = why_not_tiles(p);
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
