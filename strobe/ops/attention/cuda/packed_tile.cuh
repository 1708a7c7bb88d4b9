#pragma once

#include <cstdint>

#include "strobe/gpu/reduce.cuh"
#include "strobe/gpu/thread_index.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// Which sequence a tile belongs to, and its number there; sequence −1: a tile too many.
struct SequenceTile {
  int sequence = -1;
  int tile = 0;
};

// Packed sequences are cut into tiles of `tile_rows` rows one after another, and the host launches
// most_tiles() of them without knowing the lengths: finds tile `index`. For a whole warp, all lanes
// alike; `cu_seqlens` is in device memory.
__device__ inline SequenceTile find_packed_tile(const int32_t* cu_seqlens, int sequences,
                                                int tile_rows, int index) {
  const int lane = thread_index() % kWarpSize;
  for (int first = 0; first < sequences; first += kWarpSize) {
    const int s = first + lane;
    const int rows = s < sequences ? cu_seqlens[s + 1] - cu_seqlens[s] : 0;
    const int tiles = (rows + tile_rows - 1) / tile_rows;
    int end = tiles;  // tiles of the sequences up to and with the lane's
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int before = __shfl_up_sync(kFullWarp, end, offset);
      if (lane >= offset) end += before;
    }
    const uint32_t owners = __ballot_sync(kFullWarp, index < end);
    if (owners != 0) {
      const int owner = __ffs(static_cast<int>(owners)) - 1;
      return {first + owner, index - __shfl_sync(kFullWarp, end - tiles, owner)};
    }
    index -= __shfl_sync(kFullWarp, end, kWarpSize - 1);
  }
  return {};
}

// Where memory is laid out in tiles of `tile_rows` queries, a packed sequence's begin at
// first_q / tile_rows + s, for any lengths in front of it: finds the sequence of tile `index`. A
// tile behind the sequence's end belongs to it, too.
template <class T>
__device__ __forceinline__ SequenceTile find_query_tile(const AttentionCall<T>& call, int tile_rows,
                                                        int index) {
  // Clamped, as everywhere: what lies in device memory may lead nowhere outside the tensors.
  const auto first_tile = [&](int s) { return device_sequence(call, s).first_q / tile_rows + s; };
  int sequence = 0, end = call.sequences;
  while (end - sequence > 1) {
    const int middle = (sequence + end) / 2;
    (first_tile(middle) <= index ? sequence : end) = middle;
  }
  return {sequence, index - first_tile(sequence)};
}

}  // namespace strobe
