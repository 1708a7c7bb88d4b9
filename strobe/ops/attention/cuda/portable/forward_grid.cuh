#pragma once

// Which tile of queries a block takes, and in which order.

#include <algorithm>
#include <cstdint>

#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/packed_tile.cuh"

namespace strobe {

// A block for every tile of every head. Heads are taken in sections, and the tiles of a section
// from the last, under a causal mask the longest, to the first.
struct ForwardGrid {
  int tiles = 0;    // of a head: of one sequence, or of all packed ones together
  int heads = 0;    // Hq, times B unless packed
  int section = 1;  // heads whose keys and values lie in the L2 cache together

  STROBE_HD int64_t blocks() const { return static_cast<int64_t>(tiles) * heads; }
};

template <class T>
ForwardGrid forward_grid(const AttentionForwardParams<T>& p, int block_q, int64_t section_bytes) {
  ForwardGrid grid;
  grid.tiles = static_cast<int>(
      most_tiles(p.seq_q, p.is_packed() ? p.sequences : 1, block_q, p.is_packed()));
  grid.heads = p.heads_q * (p.is_packed() ? 1 : p.sequences);
  // Where all tiles are as long, a head's follow one another. Otherwise the longest of a few heads
  // come first, whose keys and values are `section_bytes`; the cache has room for others' queries
  // and outputs beside them.
  const int64_t head_bytes =
      std::max<int64_t>(1, 2 * sizeof(T) * int64_t{p.seq_k} * p.head_dim / p.group);
  if (p.mask.kind != MaskKind::full && grid.heads > 0) {
    grid.section = static_cast<int>(std::clamp<int64_t>(section_bytes / head_bytes, 1, grid.heads));
  }
  return grid;
}

struct ForwardWork {
  int sequence;  // −1: nothing to do
  int tile, head;
};

template <class T>
__device__ ForwardWork forward_work(const ForwardGrid& grid, const AttentionCall<T>& call,
                                    int tile_rows, int block) {
  const int first_head = block / (grid.tiles * grid.section) * grid.section;
  const int in_section = block - first_head * grid.tiles;
  const int heads = min(grid.section, grid.heads - first_head);
  const int tile = grid.tiles - 1 - in_section / heads, head = first_head + in_section % heads;
  if (!call.is_packed()) return {head / call.heads_q, tile, head % call.heads_q};
  const SequenceTile packed = find_packed_tile(call.cu_seqlens_q, call.sequences, tile_rows, tile);
  return {packed.sequence, packed.tile, head};
}

// Visibility::keys_of() of a row in 32-bit arithmetic.
struct RowLimits {
  int key_begin, key_end, query_begin, query_end;
  int low_shift, high_shift;  // query + shift: the first key that the mask shows it, and the end
};

__device__ inline RowLimits row_limits(const Visibility& visibility) {
  constexpr int64_t kFar = 1 << 30;
  const auto near = [](int64_t shift) { return static_cast<int>(max(min(shift, kFar), -kFar)); };
  const int64_t offset = visibility.seq_k - visibility.seq_q;
  return {.key_begin = static_cast<int>(visibility.keys.begin),
          .key_end = static_cast<int>(visibility.keys.end),
          .query_begin = static_cast<int>(visibility.queries.begin),
          .query_end = static_cast<int>(visibility.queries.end),
          .low_shift = near(offset - visibility.left()),
          .high_shift = near(offset + visibility.right() + 1)};
}

}  // namespace strobe
