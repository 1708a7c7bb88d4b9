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
// Registers hold 128 up to 64 columns, and up to 128 columns 80, but with dropout 64. Where few
// queries see a tile of keys, so that a part of a step is empty, the smaller steps are faster.
constexpr int flash_backward_sm90_block_q(int head_dim, bool has_dropout, int64_t queries) {
  constexpr int64_t kMany = 1024;
  if (head_dim <= 64) return 128;
  return head_dim <= 128 && !has_dropout && queries >= kMany ? 80 : 64;
}

}  // namespace strobe
