#pragma once

namespace strobe {

// How the forward kernel of sm_90 cuts the scores.
struct FlashForwardSm90Tile {
  int consumers;     // warpgroups of 64 queries each
  int block_k;       // keys of a tile
  int stages;        // tiles of keys, and as many of values, in shared memory
  int query_stages;  // tiles of queries
  int out_panels;    // a warp's panels of 64 columns of output on their way to global memory

  constexpr bool operator==(const FlashForwardSm90Tile&) const = default;
};

// Measured on an H100, B·T = 16384, H·D = 2048, bf16 (docs/attention_hopper.md). The more
// warpgroups, the more of one's exponentials lie under the others' products, and the fewer keys
// have room in their registers. `is_long`: sequences have at least kLongSequence queries.
constexpr int kLongSequence = 2048;

constexpr FlashForwardSm90Tile flash_forward_sm90_tile(int head_dim, bool has_dropout,
                                                       bool is_long) {
  if (head_dim <= 64) {
    // 128 queries × 128 keys: −19%. 192 × 128: −6% at T ≤ 1024, −15% if causal at T = 512, and +2%
    // at T ≥ 8192. 192 × 96: −14% at T = 512, −5% at T = 4096.
    if (!has_dropout) return {4, 64, 6, 2, 1};
    // 192 × 96: −7% at T ≤ 1024, ±1% at T = 4096, +2% if causal. 128 × 128: −13%.
    return {4, 64, 6, 2, 1};
  }
  if (head_dim <= 96) {
    if (!has_dropout) return {3, 96, 2, 2, 1};  // 192 × 80: −6%
    return {3, 64, 3, 2, 1};                    // 192 × 96: −6%
  }
  if (head_dim <= 128) {
    // 128 × 128: −9%, −3% if causal. 192 × 64: −10%. Two tiles of queries and two stages: −1%.
    if (is_long && !has_dropout) return {3, 80, 3, 1, 1};
    // T ≤ 1024, 192 × 80: −3%, the third warpgroup has too few rows. Dropout, 192 × 64: −3%.
    return {2, 128, 2, 2, 2};
  }
  return {2, 64, 2, 1, 1};  // all that shared memory and registers hold
}

}  // namespace strobe
