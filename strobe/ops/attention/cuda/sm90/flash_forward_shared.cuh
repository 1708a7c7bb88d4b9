#pragma once

// What the warps of attention_forward_flash_sm90 (flash_forward.cuh) share. Each kind of tile has a
// ring of stages with two barriers: it is "full" when its copy has arrived, and "empty" when all
// consumer warps have done with it.

#include "strobe/gpu/mbarrier.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_config.h"
#include "strobe/ops/attention/cuda/sm90/flash_forward_work.cuh"

namespace strobe {

template <class Config>
struct alignas(1024) FlashForwardSm90Shared {
  using T = typename Config::T;
  static constexpr int kStages = Config::kStages, kQueryStages = Config::kQueryStages;

  T q[kQueryStages][Config::kPanels][Config::kBlockQ][Config::kColumns];
  T k[kStages][Config::kPanels][Config::kBlockK][Config::kColumns];
  T v[kStages][Config::kPanels][Config::kBlockK][Config::kColumns];
  T out[Config::kConsumerWarps][Config::kOutPanels][Config::kWarpRows][Config::kColumns];
  FlashForwardSm90Work work[Config::kWorkStages];
  Mbarrier work_full[Config::kWorkStages], work_empty[Config::kWorkStages];
  Mbarrier q_full[kQueryStages], q_empty[kQueryStages];
  Mbarrier k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
  Mbarrier v_raw[kStages];  // with foreign keys, which are to be cleared before it is full
};

template <class Config>
__device__ void init_barriers(FlashForwardSm90Shared<Config>& shared, bool has_cleaner) {
  constexpr int kWarps = Config::kConsumerWarps;
  for (int i = 0; i < Config::kWorkStages; ++i) {
    mbarrier_init(&shared.work_full[i], 1);
    mbarrier_init(&shared.work_empty[i], kWarps + (has_cleaner ? 2 : 1));  // and the loader
  }
  for (int i = 0; i < Config::kQueryStages; ++i) {
    mbarrier_init(&shared.q_full[i], 1);
    mbarrier_init(&shared.q_empty[i], kWarps);
  }
  for (int i = 0; i < Config::kStages; ++i) {
    mbarrier_init(&shared.k_full[i], 1);
    mbarrier_init(&shared.k_empty[i], kWarps);
    mbarrier_init(&shared.v_full[i], 1);
    mbarrier_init(&shared.v_empty[i], kWarps);
    mbarrier_init(&shared.v_raw[i], 1);
  }
  mbarrier_init_fence();
}

// The warp's arrival, when all its lanes have done with what the barrier guards.
__device__ __forceinline__ void release(Mbarrier* barrier) {
  __syncwarp();
  if (threadIdx.x % kWarpSize == 0) mbarrier_arrive(barrier);
}

}  // namespace strobe
