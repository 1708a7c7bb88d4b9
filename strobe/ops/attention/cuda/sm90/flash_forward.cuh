#pragma once

// attention_forward_flash_sm90
//
// Computes    S = scale·Q Kᵀ, masked                                   (1)
//             O = (Z∘softmax(S)) V,   L = m + ln l                     (2), (4) by (5)–(7)
// Shapes      q [B,Tq,Hq,D]  k,v [B,Tk,Hkv,D]  →  out [B,Tq,Hq,D]  lse [B,Hq,Tq] f32; f16 or bf16
// Mapping     one CTA per SM takes tiles of kBlockQ queries of a head, longest first within a
//             section of heads whose keys and values fit in L2; a warpgroup computes 64 rows. A
//             further one produces: a warp places the tiles, one thread loads, into the next tile
//             of queries, too
// Shared      Q kQueryStages × kBlockQ×D · K, V kStages × kBlockK×D · O of a warp kOutPanels ×
//             16×64, in panels of 64 columns with the 128-byte swizzle · barriers
//                                                                       (flash_forward_shared.cuh)
// Steps       [1] place the tile, load Q  [2] load K, V  [3] S=QKᵀ of a tile of keys, with [6] of
//             that before  [4] mask  [5] P = 2^(S − m), l, dropout; where sums show that m is far
//             too little, raise it and rescale l, O  [6] O += PV  [7] write O, L
// Requires    sm_90a; D a multiple of 8 up to kHeadDim, the columns behind it arrive as zeros; rows
//             begin at multiples of 16 bytes; no bias                   (checked in why_not)
// Numerics    S, m, l, O in f32; P rounded to the input type before [6]; base-2 exponent with
//             scale·log₂e folded in
// Cost        4·B·Hq·Tq·Tk·D FLOP (half if causal); reads Q once, K,V ⌈Tq/kBlockQ⌉ times through L2

#include <cuda_runtime.h>

#include "strobe/gpu/setmaxnreg.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_consumer.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_load.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_shared.cuh"

namespace strobe {

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_forward_flash_sm90_kernel(const __grid_constant__ typename Config::Params params) {
  extern __shared__ __align__(1024) unsigned char memory[];
  static_assert(sizeof(FlashForwardSm90Shared<Config>) <= kMostSharedBytes);
  auto& shared = *reinterpret_cast<FlashForwardSm90Shared<Config>*>(memory);
  const bool may_have_foreign_keys =
      params.call.is_packed() || params.call.key_begin != nullptr || params.call.key_end != nullptr;
  if (threadIdx.x == 0) init_barriers(shared, may_have_foreign_keys);
  __syncthreads();
  if (threadIdx.x >= Config::kWarpgroup) {
    take_registers<Config::kConsumerRegisters>();
    // [perf] So the compiler knows that it is the same in the whole warp.
    const int warp = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / kWarpSize, 0);
    FlashForwardSm90Consumer<Config>(shared, params, warp - 4).run();
  } else {
    give_up_registers<Config::kProducerRegisters>();
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    if (threadIdx.x == 0) load_works(shared, params);
    if (warp == 1) place_works(shared, params);
    if (warp == 2 && may_have_foreign_keys) clear_foreign_values(shared);
  }
}

}  // namespace strobe
