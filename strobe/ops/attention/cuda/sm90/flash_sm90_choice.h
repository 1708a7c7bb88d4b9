#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

namespace strobe {

// What the row cuda_flash_sm90 takes, as far as no device has to be asked.

constexpr int kSm90Capability = 90;

// Empty where blocks can count the tiles of all heads in 32 bits.
inline std::string why_not_sm90_tiles(const AttentionProblem& p) {
  constexpr int64_t kMost = int64_t{1} << 30, kLeastRows = 64;
  const int64_t rows = std::max(p.seq_q, p.seq_k);
  const int64_t tiles = most_tiles(rows, p.batch, kLeastRows, p.is_packed) * p.heads_q;
  if (tiles <= kMost) return "";
  return fmt::format("takes up to {} tiles of {} rows in all heads, not {}", kMost, kLeastRows,
                     tiles);
}

// Empty where one of the variants runs the forward pass on a GPU of this compute capability.
inline std::string why_not_sm90(const AttentionProblem& p, int capability,
                                std::span<const Sm90Variant<AttentionForward>> variants) {
  if (capability != kSm90Capability) {
    return fmt::format("runs on compute capability 9.0 only, the GPU has {}.{}", capability / 10,
                       capability % 10);
  }
  if (variants.empty()) return "no kernels of compute capability 9.0 are compiled";
  if (p.is_decode) return "has no decode pass";
  if (p.dtype != DType::f16 && p.dtype != DType::bf16) {
    return fmt::format("takes f16 and bf16, not {}", p.dtype);
  }
  if (p.has_bias) return "takes no bias";
  if (find_variant(variants, p.dtype, p.head_dim) == nullptr) {
    const auto& largest =
        std::ranges::max_element(variants, {}, &Sm90Variant<AttentionForward>::head_dim);
    return fmt::format("head_dim is {}, compiled are those up to {}", p.head_dim,
                       largest->head_dim);
  }
  if (!p.fits_copy_engine) {
    return "rows do not all begin at multiples of 16 bytes, or strides are 0, negative, or 2⁴⁰ "
           "bytes and more";
  }
  const std::string reason = why_not_lengths(p);
  return reason.empty() ? why_not_sm90_tiles(p) : reason;
}

// Null where the portable kernel is called for, which adds up dq in a fixed order if that is asked;
// so does this one up to 128 columns.
inline const Sm90Variant<AttentionBackward>* sm90_backward_variant(
    std::span<const Sm90Variant<AttentionBackward>> variants, DType dtype, int64_t head_dim,
    bool is_deterministic) {
  const auto* variant = find_variant(variants, dtype, head_dim);
  const bool is_in_any_order =
      variant != nullptr && flash_backward_sm90_has_roles(variant->head_dim);
  return is_deterministic && is_in_any_order ? nullptr : variant;
}

}  // namespace strobe
