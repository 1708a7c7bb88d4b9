#pragma once

#include <type_traits>

#include "strobe/gpu/mbarrier.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_work.cuh"
#include "strobe/ops/attention/cuda/sm90/shared_panels.h"

namespace strobe {

// The backward kernel of sm_90: what it is compiled for, and what follows from that.
template <class T_, int kHeadDim_, bool kHasDropout_, int kBlockQ_>
struct FlashBackwardSm90 {
  using T = T_;
  using Params = FlashBackwardSm90Params<T>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kHasDropout = kHasDropout_;
  static constexpr int kBlockQ = kBlockQ_;
  static constexpr int kBlockK = flash_backward_sm90_block_k(kHeadDim);
  // One consumer makes dV, the other dK; else each makes both, of half of the keys.
  static constexpr bool kHasRoles = flash_backward_sm90_has_roles(kHeadDim);

  static constexpr int kConsumers = 2, kWarpgroup = 128, kConsumerWarps = 8;
  static constexpr int kThreads = kWarpgroup * (1 + kConsumers);
  static constexpr int kConsumerRegisters = 240;
  static constexpr int kProducerRegisters = 24;
  // Warps of the first warpgroup, an adder for each consumer; where those have roles, they add from
  // registers themselves.
  enum Role { kLoader, kCleaner, kFirstAdder };
  static constexpr int kAdders = kHasRoles ? 0 : kConsumers;

  static constexpr int kColumns = kPanelColumns, kPanels = panels_of(kHeadDim);

  // Each warpgroup makes a part of a step's dS K, as (dS K)ᵀ = Kᵀ dSᵀ: half of the queries, or half
  // of the columns, which is one or two panels.
  static constexpr bool kSplitsQueries = kPanels == 1;
  static constexpr int kPartQueries = kSplitsQueries ? kBlockQ / kConsumers : kBlockQ;
  static constexpr int kPartPanels = kSplitsQueries ? 1 : kPanels / kConsumers;
  static constexpr int kPartColumns = kPartPanels * kColumns;
  static constexpr int kPartFloats = kPartQueries * kPartColumns;
  static constexpr int kTileFloats = kConsumers * kPartFloats;
  static_assert(kPartQueries % 16 == 0 && (kSplitsQueries || kPanels % kConsumers == 0));
  // What a warp has of a panel of a part: 16 columns of its queries, in the order of fragments.
  static constexpr int kWarpFloats = 16 * kPartQueries;
  static constexpr int kRoundingThreads = kPartQueries / 16 * 32;  // of the kernel that makes dq

  static constexpr uint32_t kQueryBytes = kBlockQ * kPanels * kColumns * sizeof(T);
  static constexpr uint32_t kKeyBytes = kBlockK * kPanels * kColumns * sizeof(T);
  static constexpr uint32_t kStatisticsBytes = 2 * kBlockQ * sizeof(float);
  // Of a part's columns, those that are there come first.
  static constexpr int part_columns(int part) {
    const int left = kHeadDim - (kSplitsQueries ? 0 : part * kPartColumns);
    return left < kPartColumns ? left : kPartColumns;
  }
  static constexpr int kStages = 2;  // of q, and of dout with its statistics
  // Of an item v, and then k: with four, the next item's come ahead; with three, its k waits; with
  // two, both. As many as shared memory holds.
  static constexpr int kKeyBuffers = kPanels == 1 ? 4 : kHasRoles || kBlockQ > 64 ? 2 : 3;
  static constexpr int kWorkStages = 3;

  // What a consumer hands on in the order of fragments: its part of dS K to the adder, or P to the
  // other consumer.
  struct QuerySums {
    float query_sums[kConsumers][kPartFloats];
    Mbarrier sums_full[kConsumers], sums_empty[kConsumers];
  };
  struct Probs {
    float probs[kBlockQ * kBlockK];
    Mbarrier probs_full;
  };

  struct Shared {
    T keys[kKeyBuffers][kPanels][kBlockK][kColumns];
    T q[kStages][kPanels][kBlockQ][kColumns];
    T dout[kStages][kPanels][kBlockQ][kColumns];
    T dscores[kBlockK / kColumns][kBlockQ][kColumns];  // dS: columns are keys
    std::conditional_t<kHasRoles, Probs, QuerySums> handed_on;
    alignas(16) float statistics[kStages][2][kBlockQ];
    FlashBackwardSm90Work work[kWorkStages];
    Mbarrier work_full[kWorkStages], work_empty[kWorkStages];
    // "raw": has arrived, but with rows that the cleaner has to clear.
    Mbarrier keys_full[kKeyBuffers], keys_raw[kKeyBuffers], keys_empty[kKeyBuffers];
    Mbarrier q_full[kStages], q_raw[kStages], q_empty[kStages];
    Mbarrier dout_full[kStages], dout_raw[kStages], dout_empty[kStages];
    Mbarrier dscores_full, dscores_empty;
  };
  static constexpr int kAlignment = 1024;
  static constexpr int kSharedBytes = sizeof(Shared) + kAlignment;
  static_assert(kSharedBytes <= kMostSharedBytes);
};

}  // namespace strobe
