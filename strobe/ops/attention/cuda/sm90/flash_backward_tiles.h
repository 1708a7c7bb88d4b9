#pragma once

namespace strobe {

// How the backward kernel of sm_90 cuts the scores: tiles of kBackwardKeys keys, 64 for each of two
// warpgroups, go through steps of block_q queries.
constexpr int kBackwardKeys = 128;

// A score costs 11 bytes of reads from shared memory at 128 queries, 13 at 64; above 64 columns,
// registers hold no more than 64.
constexpr int flash_backward_sm90_block_q(int head_dim) { return head_dim <= 64 ? 128 : 64; }

}  // namespace strobe
