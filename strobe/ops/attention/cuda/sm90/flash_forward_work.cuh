#pragma once

// A tile of queries as the producer of attention_forward_flash_sm90 (flash_forward.cuh) hands it to
// the others: all that depends on lengths, mask and place is computed once, by one warp.

#include <cstdint>

#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/forward_grid.cuh"

namespace strobe {

// The tiles of keys that matter to some rows.
struct SeenKeys {
  int begin = 0, end = 0;            // with anything to see
  int full_begin = 0, full_end = 0;  // those of them that all rows see from end to end
  bool ends_early = false;           // nobody sees more than a part of the last

  __device__ bool any() const { return begin < end; }
};

struct alignas(16) FlashForwardSm90Work {
  static constexpr int kEnd = -1, kMostConsumers = 4;

  int head = kEnd;  // of the queries; kEnd: there is no more
  int batch = 0;
  int first_row = 0;      // in the time dimension of q and out
  int rows = 0;           // from there on, that belong to the sequence
  int first_key_row = 0;  // row of the sequence's first key in the time dimension of k and v
  int tile_begin = 0, tile_end = 0;    // of keys, with anything to see
  int turns_begin = 0, turns_end = 0;  // those of them that every consumer computes
  SeenKeys seen[kMostConsumers];       // of each consumer's 64 rows; none: it has no rows
  // Keys outside [own_keys_begin, own_keys_end) may be padding or other sequences': whatever lies
  // there must not reach a product, not even times 0.
  int own_keys_begin = 0, own_keys_end = 0;
  RowLimits limits;  // queries count from the tile's first row
  uint32_t dropout_head = 0, dropout_row_block = 0;
  int64_t lse_row = 0;  // of the first row

  __device__ bool has_tiles() const { return tile_begin < tile_end; }
  __device__ bool is_end() const { return head == kEnd; }
  __device__ bool has_foreign_keys(int tile, int block_k) const {
    return tile * block_k < own_keys_begin || tile * block_k + block_k > own_keys_end;
  }
};

// Visibility::key_tiles() in 32-bit arithmetic, of the rows [first, end) of the tile of queries;
// tiles are partly visible, too, where some of the rows are padding.
template <int kBlockK, int kPartK>
__device__ SeenKeys seen_keys(const RowLimits& limits, int first, int end) {
  SeenKeys tiles;
  const int row_begin = max(limits.query_begin, first), row_end = min(limits.query_end, end);
  if (row_begin >= row_end) return tiles;
  const int key_begin = max(limits.key_begin, row_begin + limits.low_shift);
  const int key_end = min(limits.key_end, row_end - 1 + limits.high_shift);
  if (key_begin >= key_end) return tiles;
  constexpr unsigned kKeys = kBlockK;
  tiles.begin = static_cast<unsigned>(key_begin) / kKeys;
  tiles.end = (static_cast<unsigned>(key_end) + kKeys - 1) / kKeys;
  tiles.ends_early = key_end <= (tiles.end - 1) * kBlockK + kPartK;
  const int all_begin = max(limits.key_begin, row_end - 1 + limits.low_shift);
  const int all_end = max(min(limits.key_end, row_begin + limits.high_shift), 0);
  tiles.full_begin = (static_cast<unsigned>(all_begin) + kKeys - 1) / kKeys;
  tiles.full_end = static_cast<unsigned>(all_end) / kKeys;
  const bool has_padding = row_begin > first || row_end < end;
  if (has_padding || tiles.full_begin >= tiles.full_end) {
    tiles.full_begin = tiles.full_end = tiles.end;
  }
  return tiles;
}

template <int kConsumers, int kBlockK, int kPartK, class T>
__device__ FlashForwardSm90Work forward_sm90_work(const AttentionForwardParams<T>& call,
                                                  const ForwardWork& place) {
  constexpr int kBlockQ = 64 * kConsumers;
  const AttentionDeviceSequence sequence = device_sequence(call, place.sequence);
  const int first = place.tile * kBlockQ;
  FlashForwardSm90Work work;
  work.head = place.head;
  work.batch = sequence.batch;
  work.first_row = sequence.first_q + first;
  work.rows = min(static_cast<int>(sequence.visibility.seq_q) - first, kBlockQ);
  work.first_key_row = sequence.first_k;
  work.limits = row_limits(sequence.visibility);
  work.limits.query_begin -= first;
  work.limits.query_end -= first;
  work.limits.low_shift += first;
  work.limits.high_shift += first;
  work.own_keys_begin = work.limits.key_begin;
  // What lies behind the tensor arrives as zeros.
  const bool reaches_end = sequence.first_k + work.limits.key_end == call.seq_k;
  work.own_keys_end = reaches_end ? INT32_MAX : work.limits.key_end;
  work.dropout_head = sequence.dropout_head + place.head;
  work.dropout_row_block = first / 16;
  work.lse_row =
      (static_cast<int64_t>(work.batch) * call.heads_q + place.head) * call.seq_q + work.first_row;
  const SeenKeys all = seen_keys<kBlockK, kPartK>(work.limits, 0, work.rows);
  work.tile_begin = all.begin;
  work.tile_end = all.end;
  return work;
}

// For a warp: who computes which tiles of keys. A consumer whose rows see nothing, while others'
// do, computes the first of those: its output is zeros.
template <int kConsumers, int kBlockK, int kPartK>
__device__ void share_key_tiles(FlashForwardSm90Work& work) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, consumer = lane % kConsumers;
  const int first = 64 * consumer, end = min(first + 64, work.rows);
  SeenKeys seen = seen_keys<kBlockK, kPartK>(work.limits, first, end);
  if (!seen.any()) {
    const bool has_rows = first < end;
    seen.begin = has_rows ? work.tile_begin : work.tile_end;
    seen.end = has_rows ? work.tile_begin + 1 : work.tile_end;
  }
  if (lane < kConsumers) work.seen[lane] = seen;
  const int turns_begin = __reduce_max_sync(kFullWarp, seen.begin);
  const int turns_end = __reduce_min_sync(kFullWarp, seen.end);
  if (lane == 0) {
    work.turns_begin = turns_begin;
    work.turns_end = turns_end;
  }
}

}  // namespace strobe
