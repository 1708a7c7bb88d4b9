#pragma once

#include <cstdint>

#include "strobe/gpu/reduce.cuh"

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
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
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

}  // namespace strobe
