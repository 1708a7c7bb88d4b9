#pragma once

#include <cstdint>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/flash_backward_params.h"
#include "strobe/ops/attention/cuda/portable/flash_backward_tiles.h"

namespace strobe {

// Whether BackwardSums::all is compiled: one kernel for dq, dk and dv, five products instead of
// seven, where its tiles fit into registers and shared memory.
constexpr bool flash_backward_has_all(bool is_16_bit, int head_dim, PortableArch arch) {
  return is_16_bit && head_dim <= 128 && arch == PortableArch::sm80;
}

// Which kernels run, and the memory that they take.
struct FlashBackwardPlan {
  bool makes_all = false;       // by BackwardSums::all: faster, but the sums' order is any
  int64_t queries = 0;          // rows of L and Δ, of all heads
  int64_t query_sum_tiles = 0;  // of a head
  int64_t query_sums = 0;       // floats of all tiles

  // `head_dim` is that of the variant, `shared_limit` what a block may have of shared memory.
  FlashBackwardPlan(const AttentionProblem& p, int head_dim, PortableArch arch,
                    int64_t shared_limit) {
    const bool is_16_bit = size_of(p.dtype) == 2;
    const int64_t head_rows = p.heads_q * (p.is_packed ? 1 : p.batch);
    queries = head_rows * p.seq_q;
    makes_all = !p.is_deterministic && pays_off(p) &&
                flash_backward_has_all(is_16_bit, head_dim, arch) &&
                flash_backward_least_shared_bytes(is_16_bit, head_dim, p.has_dropout,
                                                  BackwardSums::all, arch) <= shared_limit;
    if (!makes_all) return;
    query_sum_tiles = most_tiles(p.seq_q, p.is_packed ? p.batch : 1, kQuerySumRows, p.is_packed);
    query_sums = head_rows * query_sum_tiles * kQuerySumRows * head_dim;
  }

  int64_t bytes() const {
    return queries * static_cast<int64_t>(sizeof(float2)) +
           query_sums * static_cast<int64_t>(sizeof(float));
  }

 private:
  // Clearing and rounding the sums takes longer than two products of short sequences. H100, D = 64,
  // causal: −7% at T = 128, +5% at T = 256.
  static bool pays_off(const AttentionProblem& p) {
    constexpr int64_t kLeastQueries = 256;
    return p.seq_q >= kLeastQueries * (p.is_packed ? p.batch : 1);
  }
};

}  // namespace strobe
