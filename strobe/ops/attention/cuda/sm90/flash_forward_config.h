#pragma once

#include "strobe/ops/attention/cuda/sm90/flash_forward_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_forward_tiles.h"
#include "strobe/ops/attention/cuda/sm90/shared_panels.h"

namespace strobe {

// A variant of attention_forward_flash_sm90 (flash_forward.cuh).
template <class T_, int kHeadDim_, bool kHasDropout_, FlashForwardSm90Tile kTile_>
struct FlashForwardSm90 {
  using T = T_;
  using Params = FlashForwardSm90Params<T>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kHasDropout = kHasDropout_;
  static constexpr FlashForwardSm90Tile kTile = kTile_;
  static constexpr int kConsumers = kTile.consumers, kConsumerWarps = 4 * kConsumers;
  static constexpr int kWarpgroup = 128, kThreads = kWarpgroup * (1 + kConsumers);
  static constexpr int kBlockQ = 64 * kConsumers, kBlockK = kTile.block_k;
  // Of its last tile a warpgroup makes no more than these keys where it sees no others; [perf] with
  // 256 columns a second loop costs more than it saves.
  static constexpr bool kTrims = kHeadDim <= 128;
  static constexpr int kPartK = kTrims ? (kBlockK / 2 + 15) / 16 * 16 : kBlockK;
  static constexpr int kStages = kTile.stages, kQueryStages = kTile.query_stages;
  static constexpr int kWorkStages = 2;  // tiles of queries handed out ahead
  static constexpr int kColumns = kPanelColumns, kPanels = panels_of(kHeadDim);
  static constexpr int kOutPanels = kTile.out_panels;
  static constexpr int kWarpRows = 16;
  // Whether registers are so few that what follows from a thread's index is computed again where it
  // is needed once a tile of queries, or it would be kept in local memory.
  static constexpr bool kRecomputesIndices = kHeadDim > 128 || (kHasDropout && kConsumers == 4);
  // What a thread gets of the 64 Ki registers.
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : kConsumers == 3 ? 160 : 112;
  static_assert(kConsumers >= 2 && kConsumers <= 4);
  static_assert(kHeadDim % 16 == 0 && kBlockK % 16 == 0);
  static_assert(!kHasDropout || kBlockK % 32 == 0);
  static_assert(kPanels % kOutPanels == 0);
};

}  // namespace strobe
