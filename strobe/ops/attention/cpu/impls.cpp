#include "strobe/ops/attention/cpu/impls.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/impls.h"

namespace strobe {
namespace {

// For few and wide rows, flash's tiles are mostly empty, and plain products win while no time goes
// into dividing them among threads. Time of standard over flash, forward and backward together,
// B = 1, H = 12, causal, one thread of a Zen 4 (two threads at f32, D = 128, T = 16: 0.91):
//             T =    8     16     32     64
//   f32   D = 64   1.02   1.02   1.14   1.07
//   f32   D = 128  0.61   0.74   1.06   1.11
//   f32   D = 256  0.37   0.63   1.34   1.28
//   bf16  D = 64   1.46   1.25   1.29   1.11
//   bf16  D = 128  0.94   0.82   0.98   0.98
//   bf16  D = 256  0.60   0.59   0.83   0.93
std::string why_flash_is_slower(const AttentionProblem& p) {
  constexpr int64_t kMostRows = 16, kLeastHeadDim = 128;
  constexpr int kMostThreads = 2;
  if (p.is_decode || p.is_packed || p.head_dim < kLeastHeadDim ||
      std::max(p.seq_q, p.seq_k) > kMostRows || thread_count() > kMostThreads) {
    return "";
  }
  return fmt::format(
      "standard is faster up to {} queries and keys of head_dim {} or more on at most {} threads",
      kMostRows, kLeastHeadDim, kMostThreads);
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
