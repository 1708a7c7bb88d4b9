#include "strobe/ops/attention/cuda/portable/flash_portable.h"

#include <algorithm>

#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_decode.h"

namespace strobe {

std::span<const PortableVariant<AttentionForward>> flash_forward_variants() {
  static constexpr PortableVariant<AttentionForward> kVariants[] = {
#include "strobe/ops/attention/cuda/variants/launch_attention_forward_flash_portable.inc"
  };
  return kVariants;
}

namespace {

constexpr int capability_of(PortableArch arch) { return arch == PortableArch::sm75 ? 75 : 80; }

// Empty when a block of the device gets as much shared memory as the forward pass takes.
std::string why_not_shared(const PortableVariant<AttentionForward>& variant,
                           const AttentionProblem& p, const CudaInfo& info) {
  const int bytes = flash_forward_shared_bytes(size_of(p.dtype) == 2, variant.head_dim,
                                               p.has_dropout, variant.arch);
  if (bytes <= info.shared_bytes_per_block) return "";
  return fmt::format("head_dim {} in {} takes {} KiB of shared memory, the GPU has {}", p.head_dim,
                     p.dtype, bytes >> 10, info.shared_bytes_per_block >> 10);
}

// The reason why there is no variant for the problem.
std::string why_not_compiled(const AttentionProblem& p, PortableArch arch) {
  int64_t largest = 0;
  for (const auto& variant : flash_forward_variants()) {
    if (variant.arch == arch && variant.dtype == p.dtype) {
      largest = std::max<int64_t>(largest, variant.head_dim);
    }
  }
  if (largest == 0) return fmt::format("{} needs compute capability 8.0", p.dtype);
  return fmt::format("head_dim is {}, compiled are those up to {}", p.head_dim, largest);
}

template <PortableArch kArch>
std::string why_not(const AttentionProblem& p, const Device& device) {
  std::string reason = why_not_cuda(device, capability_of(kArch));
  if (!reason.empty()) return reason;
  const auto is_of_arch = [](const auto& variant) { return variant.arch == kArch; };
  if (std::ranges::none_of(flash_forward_variants(), is_of_arch)) {
    return fmt::format("no kernels of compute capability {} are compiled",
                       kArch == PortableArch::sm75 ? "7.5" : "8.0 and newer");
  }
  reason = why_not_lengths(p);
  if (!reason.empty()) return reason;
  const CudaInfo& info = cuda_info(device.index);
  if (p.is_decode) return why_not_flash_decode(p, info);  // has no variants
  const auto* compiled = find_variant(flash_forward_variants(), p.dtype, p.head_dim, kArch);
  if (compiled == nullptr) return why_not_compiled(p, kArch);
  reason = why_not_shared(*compiled, p, info);
  return reason.empty() && p.needs_backward ? why_not_flash_backward(p, kArch, info) : reason;
}

template <PortableArch kArch>
int64_t workspace_bytes(const AttentionProblem& p) {
  if (p.is_decode) return flash_decode_workspace_bytes(p);
  return p.needs_backward ? flash_backward_workspace_bytes(p, kArch) : 0;
}

int64_t saved_bytes(const AttentionProblem&) { return 0; }

template <PortableArch kArch>
void forward(Context& ctx, const AttentionForward& args) {
  find_variant(flash_forward_variants(), args.q.dtype, args.q.shape[3], kArch)->launch(ctx, args);
}

template <PortableArch kArch>
void backward(Context& ctx, const AttentionBackward& args) {
  flash_backward(ctx, args, kArch);
}

template <PortableArch kArch>
constexpr AttentionImpl row(std::string_view name) {
  return {.name = name,
          .algorithm = Algorithm::flash,
          .why_not = &why_not<kArch>,
          .saved_bytes = &saved_bytes,
          .workspace_bytes = &workspace_bytes<kArch>,
          .forward = &forward<kArch>,
          .backward = &backward<kArch>,
          .decode = &flash_decode};
}

}  // namespace

const AttentionImpl kCudaFlashPortable = row<PortableArch::sm80>("cuda_flash_portable");
const AttentionImpl kCudaFlashSm75 = row<PortableArch::sm75>("cuda_flash_sm75");

}  // namespace strobe
