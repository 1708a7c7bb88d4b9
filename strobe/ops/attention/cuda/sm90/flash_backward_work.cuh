#pragma once

#include <cstdint>

#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_band.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"

namespace strobe {

// An item of work, a tile of keys of one key head, as the loader hands it to the other warps: all
// that depends on lengths, mask and place is computed once.
struct alignas(16) FlashBackwardSm90Work {
  static constexpr int kEnd = -1;

  int key_head = kEnd;  // kEnd: there is no more
  int batch = 0;
  int key_tile = 0;                  // of the sequence
  int first_key_row = 0;             // of the tile, in the time dimension of k and v
  int key_rows = 0;                  // of the tile's rows those that are the sequence's
  int first_query_row = 0;           // of the sequence
  int first_query_tile = 0;          // of the sequence, in the order of `statistics`
  int step_begin = 0, step_end = 0;  // tiles of queries that see some of the keys
  int unit = 0;
  uint32_t dropout_head = 0;  // of query head 0
  Band band;                  // rows are keys
  // Of each 64 keys: the queries that all are seen by, as far as the mask goes. Those that
  // are padding have an infinite L.
  int seen_begin[2], seen_end[2];
  // Rows outside may be padding or other sequences': whatever lies there must not reach a product,
  // not even times 0. What lies behind the tensors arrives as zeros.
  int own_keys_end = 0, own_queries_end = 0;

  __device__ bool has_steps() const { return step_begin < step_end; }
  // Steps are numbered in the order in which the item takes them: from step_begin on, and where it
  // begins with the last tile of queries, step -1 is tile 0.
  static __device__ int query_tile(int step) { return step < 0 ? -1 - step : step; }
  __device__ bool is_backward() const { return step_begin < 0; }
  __device__ bool has_foreign_keys(int first, int rows) const {
    return first < band.row_begin || first + rows > own_keys_end;
  }
  __device__ bool has_foreign_queries(int first, int rows) const {
    return first < band.column_begin || first + rows > own_queries_end;
  }
  __device__ bool is_end() const { return key_head == kEnd; }

  // Which tiles of block_k keys add to the tile of queries [first, first + rows): [begin, end), not
  // empty for one that an item goes through.
  struct KeyTiles {
    int begin, end;
  };
  __device__ KeyTiles key_tiles_of(int first, int rows, int block_k) const {
    const int begin = max(first, band.column_begin), end = min(first + rows, band.column_end);
    // The band's limits the other way round: query + these are a query's first and last key.
    const int keys_begin = max(band.row_begin, begin + 1 - band.upper);
    const int keys_end = min(band.row_end, end - band.lower);
    return {keys_begin / block_k, (keys_end + block_k - 1) / block_k};
  }
};

// The tile of sums of the sequence's first queries.
template <class T>
__device__ __forceinline__ int64_t first_query_sums(const FlashBackwardSm90Params<T>& params,
                                                    const FlashBackwardSm90Work& work, int head) {
  return (static_cast<int64_t>(work.unit) * params.call.group + head) * params.query_tiles +
         work.first_query_tile;
}

// What follows from the item's band and its place.
template <int kBlockQ, int kBlockK, class T>
__device__ __forceinline__ void set_limits(FlashBackwardSm90Work& work,
                                           const FlashBackwardSm90Params<T>& params) {
  const Band& band = work.band;
  const int first = work.key_tile * kBlockK;
  const auto own_end = [](int first_row, int end, int rows) {
    return first_row + end == rows ? INT32_MAX : end;
  };
  work.own_keys_end = own_end(work.first_key_row - first, band.row_end, params.call.seq_k);
  work.own_queries_end = own_end(work.first_query_row, band.column_end, params.call.seq_q);
  constexpr int kPartKeys = 64;
  for (int part = 0; part < kBlockK / kPartKeys; ++part) {
    const int key = first + part * kPartKeys;
    const bool has_padding = key < band.row_begin || key + kPartKeys > band.row_end;
    work.seen_begin[part] = has_padding ? Band::kFar : key + kPartKeys - 1 + band.lower;
    work.seen_end[part] = key + band.upper;
  }
  int step_begin = 0, step_end = 0;  // written once: all lanes do, and one may lag behind
  if (max(first, band.row_begin) < min(first + kBlockK, band.row_end)) {
    const int begin = band.any_begin(first), end = band.any_end(first + kBlockK);
    if (begin < end) {
      const int first_tile = static_cast<unsigned>(begin) / kBlockQ;
      const int end_tile = (static_cast<unsigned>(end) + kBlockQ - 1) / kBlockQ;
      const bool is_backward = work.unit >= params.first_backward;
      step_begin = is_backward ? -end_tile : first_tile;
      step_end = is_backward ? -first_tile : end_tile;
    }
  }
  work.step_begin = step_begin;
  work.step_end = step_end;
}

// Item `index` of params.units · params.key_tiles. For a whole warp; `work` is in shared memory.
//
// Where additions have an order, a section's items go from the last tile of keys to the first, and
// each through queries from the first ones; in a section that goes backward, the other way round.
// Of a tile of queries the group's heads come one after the other.
template <int kBlockQ, int kBlockK, class T>
__device__ __forceinline__ void set_backward_sm90_work(FlashBackwardSm90Work& work,
                                                       const FlashBackwardSm90Params<T>& params,
                                                       int index) {
  const AttentionCall<T>& call = params.call;
  const int section = min(index / (params.section * params.key_tiles), params.sections - 1);
  const int first_unit = section * params.section;
  const int in_section = index - first_unit * params.key_tiles;
  const int units = section == params.sections - 1 ? params.units - first_unit : params.section;
  const int unit = first_unit + in_section % units, turn = in_section / units;
  work.unit = unit;
  work.key_head = unit % call.heads_kv;
  const bool is_ordered = params.additions != nullptr;
  const bool is_backward = unit >= params.first_backward;
  SequenceTile place = {unit / call.heads_kv,
                        is_ordered && !is_backward ? params.key_tiles - 1 - turn : turn};
  if (call.is_packed()) {
    place = find_packed_tile(call.cu_seqlens_k, call.sequences, kBlockK, place.tile);
    if (place.sequence < 0) {
      work.key_rows = work.step_begin = work.step_end = 0;
      return;
    }
  }
  const AttentionDeviceSequence sequence = device_sequence(call, place.sequence);
  const int first = place.tile * kBlockK;
  work.batch = sequence.batch;
  work.key_tile = place.tile;
  work.first_key_row = sequence.first_k + first;
  const int rows_left = static_cast<int>(sequence.visibility.seq_k) - first;
  work.key_rows = max(min(rows_left, kBlockK), 0);
  work.first_query_row = sequence.first_q;
  work.first_query_tile =
      call.is_packed()
          ? static_cast<int>(static_cast<unsigned>(sequence.first_q) / kBlockQ) + place.sequence
          : 0;
  work.dropout_head = sequence.dropout_head;
  __syncwarp();  // [perf] What is in shared memory now takes no register: those are few.
  work.band = Band::of_keys(device_sequence(call, place.sequence).visibility);
  __syncwarp();
  set_limits<kBlockQ, kBlockK>(work, params);
}

}  // namespace strobe
