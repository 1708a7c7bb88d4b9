#pragma once

#include <cstdint>

namespace strobe {

// How the backward kernel of sm_90 cuts the scores: tiles of block_k keys go through steps of
// block_q queries.

// 64 for each of two warpgroups. Above 128 columns, a warpgroup's registers hold dK or dV of 64
// keys and not both: then two warpgroups share 64.
constexpr bool flash_backward_sm90_has_roles(int head_dim) { return head_dim > 128; }
constexpr int flash_backward_sm90_block_k(int head_dim) {
  return flash_backward_sm90_has_roles(head_dim) ? 64 : 128;
}

// The more queries, the fewer bytes of shared memory a score costs, and the fewer steps there are.
// Where few queries see a tile of keys, so that a part of a step is empty, the smaller steps are
// faster. Measured on an H100, D = 128, B·T = 16384, H·D = 2048, bf16 (docs/attention_hopper.md).
constexpr int flash_backward_sm90_block_q(int head_dim, bool has_dropout, int64_t queries) {
  if (head_dim <= 64) return 128;  // all that registers hold
  // 64: the time is +3% at T = 1024, +11% at 4096, +16% at 16384; at T = 512 −3%, causal −7% and at
  // T = 1024 ±0. 80 are all that registers hold, without the bits of dropout.
  constexpr int64_t kMany = 1024;
  if (head_dim <= 128 && !has_dropout && queries >= kMany) return 80;
  return 64;  // above 128 columns, all that shared memory holds
}

}  // namespace strobe
