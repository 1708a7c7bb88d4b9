#pragma once

#include <vector_types.h>

#include <type_traits>

#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_tiles.h"

namespace strobe {

// A kernel of flash backward: what it is compiled for, and what follows from that.
template <class T_, int kHeadDim_, bool kHasDropout_, BackwardSums kSums_, PortableArch kArch_>
struct FlashBackward {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kHasDropout = kHasDropout_;
  static constexpr bool kRowsAreKeys = kSums_ != BackwardSums::queries;
  static constexpr bool kSumsQueries = kSums_ == BackwardSums::all;
  static constexpr bool kIsSm80 = kArch_ == PortableArch::sm80;
  static constexpr PortableArch kArch = kArch_;

  static constexpr FlashBackwardTile kTile =
      flash_backward_tile(sizeof(T) == 2, kHeadDim, kSums_, kArch);
  static constexpr int kThreads = kTile.warps * kWarpSize;
  static constexpr int kBlockRows = kTile.block_rows();
  static constexpr int kRowTiles = kTile.row_tiles;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRoles = kTile.roles;
  static constexpr int kStep = kTile.step, kColumnTiles = kStep / 8;  // of scores
  static constexpr int kStreamRows = kTile.stream_rows;
  static constexpr int kSumColumns = kHeadDim / kTile.head_splits;  // of a warp's sums
  static constexpr int kSumTiles = kSumColumns / 8;
  static constexpr int kOutputs = kRowsAreKeys && kRoles == 1 ? 2 : 1;  // of a warp

  // How warps share a tile of the sums that become dq: this many below and beside each other.
  static constexpr int kQueryWarpRows = kTile.warps == 8 && kHeadDim % 64 != 0 ? 4 : 2;
  static constexpr int kQueryWarpColumns = kTile.warps / kQueryWarpRows;

  using Scores = float[kRowTiles][kColumnTiles][4];
  using Sums = float[kRowTiles][kSumTiles][4];

  static constexpr int kRowsBytes = kBlockRows * kHeadDim * sizeof(T);
  static constexpr int kStreamBytes = kStreamRows * kHeadDim * sizeof(T);
  static constexpr int kExchangeBytes = flash_backward_exchange_bytes(kTile, kSums_);
  static constexpr bool kPassesSurvivors =
      flash_backward_passes_survivors(kTile, kSums_, kHasDropout);

  struct Columns {
    unsigned char tiles[2][kStreamBytes];  // q and dout, or k and v
    float2 statistics[kStreamRows];        // of queries
  };
  struct NoSurvivors {};
  struct PassedSurvivors {
    uint4 of[kTile.warps / 2][kWarpSize];  // a lane's of all rows and columns of a pair's tile
  };
  struct Shared {
    unsigned char rows[2][kRowsBytes];  // k and v, or q and dout
    unsigned char exchange[2][kExchangeBytes];
    [[no_unique_address]] std::conditional_t<kPassesSurvivors, PassedSurvivors, NoSurvivors>
        survivors;
    Columns columns[2];  // the second one where there is room
  };
  static constexpr int kSharedBytes = sizeof(Shared);
  static constexpr int kLeastSharedBytes =
      flash_backward_least_shared_bytes(sizeof(T) == 2, kHeadDim, kHasDropout, kSums_, kArch);
  static_assert(kLeastSharedBytes == kSharedBytes - sizeof(Columns));

  static_assert(kRoles == 1 || (kStep == kStreamRows && kRowsAreKeys && kStep % 32 == 0));
  static_assert(!kPassesSurvivors || (kRowTiles == 2 && kColumnTiles == 8));
};

}  // namespace strobe
