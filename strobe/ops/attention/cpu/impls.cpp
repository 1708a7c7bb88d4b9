#include "strobe/ops/attention/cpu/impls.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "strobe/ops/attention/impls.h"

namespace strobe {
namespace {

// Between scores as few as these, flash's tiles are mostly empty, and plain products win. Time of
// standard over flash, forward and backward, one thread of a Zen 4, B = 1, H = 12, causal:
//            T =    8     16     32     64    128
//   f32   D = 32  1.24   1.18   1.25   1.13   1.17
//   f32   D = 64  0.75   0.84   1.01   1.04   1.20
//   f32   D = 128 0.48   0.58   0.93   1.06   1.07
//   bf16  D = 64  1.07   0.98   1.15   1.07   1.23
//   bf16  D = 128 0.68   0.70   0.84   0.94   1.13
std::string why_flash_is_slower(const AttentionProblem& p) {
  const int64_t smallest_head = p.dtype == DType::f32 ? 64 : 128;
  if (p.is_packed || p.head_dim < smallest_head) return "";
  const int64_t length = std::max(p.seq_q, p.seq_k), limit = p.head_dim / 4;
  if (length > limit) return "";
  return fmt::format("standard is faster up to {} queries and keys of head_dim {} in {}", limit,
                     p.head_dim, p.dtype);
}

}  // namespace

std::span<const AttentionImpl> attention_impls_cpu() {
  static const std::vector<AttentionImpl> rows = [] {
    std::vector<AttentionImpl> all;
    for (AttentionImpl impl : attention_impls_cpu_flash()) {
      impl.why_slower = &why_flash_is_slower;
      all.push_back(impl);
    }
    // cpu_flash_avx512_bf16 comes first, the f32 products of cpu_flash_avx512 second.
    if (!cpu_info().has_fast_bf16_dot) std::swap(all[0], all[1]);
    const auto standard = attention_impls_cpu_standard();
    all.insert(all.end(), standard.begin(), standard.end());
    return all;
  }();
  return rows;
}

}  // namespace strobe
