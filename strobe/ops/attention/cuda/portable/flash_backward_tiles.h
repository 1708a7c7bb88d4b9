#pragma once

#include "strobe/ops/attention/cuda/portable/tile_table.h"

namespace strobe {

// What a kernel of flash backward makes. All are one body: a block owns rows of scores and goes
// through their columns. Queries as rows make dq; keys as rows make dk and dv, and with `all` what
// is added to dq.
enum class BackwardSums : unsigned char { queries, keys, all };

// How a block cuts the scores.
struct FlashBackwardTile {
  int warps;
  int row_tiles;  // of 16 rows, that a warp owns
  // Warps that share rows: with 2 roles, one makes P and dv, the other dP, dS and dk; with 2
  // splits, both make all scores, and each the sums of a half of head_dim.
  int roles, head_splits;
  int stream_rows;         // columns of scores in a tile that is read from memory
  int step;                // columns for which a warp has scores in registers at once
  bool rows_in_registers;  // else fragments of rows are read from shared memory in each step
  int blocks_per_sm;       // that registers are budgeted for

  constexpr int block_rows() const { return warps / roles / head_splits * row_tiles * 16; }
};

constexpr FlashBackwardTile flash_backward_tile(bool is_16_bit, int head_dim, BackwardSums sums,
                                                PortableArch arch) {
  const bool of_keys = sums != BackwardSums::queries;
  if (is_16_bit && arch == PortableArch::sm80) {
    if (head_dim <= 64) return {4, 2, 1, 1, 64, 32, !of_keys, 2};
    if (head_dim <= 128 && sums == BackwardSums::all) return {8, 2, 2, 1, 64, 64, false, 1};
    if (head_dim <= 128 && of_keys) return {4, 2, 2, 1, 64, 64, false, 2};
    if (head_dim <= 128) return {8, 1, 1, 1, 64, 32, true, 1};
    return {8, 1, 1, of_keys ? 2 : 1, 32, 32, false, 1};
  }
  if (is_16_bit) {  // 64 KiB of shared memory
    if (head_dim <= 128) return {4, 1, 1, 1, 32, 32, false, 1};
    return {of_keys ? 2 : 1, 1, 1, of_keys ? 2 : 1, 32, 32, false, 1};
  }
  if (arch == PortableArch::sm80) {
    if (head_dim <= 128) return {4, 1, 1, 1, 32, 32, false, 1};
    return {2, 1, 1, of_keys ? 2 : 1, 32, 32, false, 1};
  }
  if (head_dim <= 64) return {4, 1, 1, 1, 32, 32, false, 1};
  return {head_dim <= 96 ? 2 : 1, 1, 1, 1, 32, 32, false, 1};
}

// What warps pass on of a tile of scores, in 16 bits each: P for the other role, and then in its
// place dS. There are two, for a tile and the one before it.
constexpr int flash_backward_exchange_bytes(const FlashBackwardTile& tile, BackwardSums sums) {
  constexpr int kNone = 64;
  return sums == BackwardSums::all || tile.roles == 2 ? 2 * tile.block_rows() * tile.stream_rows
                                                      : kNone;
}

// With `all` and two roles, role 1 says what survives dropout, and passes that on to role 0: it
// has time while role 0 makes P, where it would add to dq's sums otherwise.
constexpr bool flash_backward_passes_survivors(const FlashBackwardTile& tile, BackwardSums sums,
                                               bool has_dropout) {
  return has_dropout && sums == BackwardSums::all && tile.roles == 2;
}

// The shared memory of a block with one tile of columns; with two, columns come ahead.
constexpr int flash_backward_least_shared_bytes(bool is_16_bit, int head_dim, bool has_dropout,
                                                BackwardSums sums, PortableArch arch) {
  const FlashBackwardTile tile = flash_backward_tile(is_16_bit, head_dim, sums, arch);
  const int row_bytes = head_dim * (is_16_bit ? 2 : 4), statistics_bytes = 8;
  const int survivors_bytes =
      flash_backward_passes_survivors(tile, sums, has_dropout) ? tile.warps / 2 * 512 : 0;
  return 2 * tile.block_rows() * row_bytes + 2 * flash_backward_exchange_bytes(tile, sums) +
         survivors_bytes + tile.stream_rows * (2 * row_bytes + statistics_bytes);
}

}  // namespace strobe
