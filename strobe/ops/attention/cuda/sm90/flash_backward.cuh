#pragma once

#include <cstdint>

#include "strobe/gpu/grid_dependency.cuh"
#include "strobe/gpu/setmaxnreg.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_consumer.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_load.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_query_sums.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_roles.cuh"

namespace strobe {

template <class Config>
__device__ void init_barriers(typename Config::Shared& shared) {
  const auto init = [](auto& barriers, uint32_t arrivals) {
    for (Mbarrier& barrier : barriers) mbarrier_init(&barrier, arrivals);
  };
  constexpr int kWarps = Config::kConsumerWarps / Config::kConsumers;  // of one
  init(shared.work_full, 1);
  init(shared.work_empty, Config::kConsumerWarps + Config::kAdders + 1);
  init(shared.keys_full, 1);
  init(shared.keys_raw, 1);
  init(shared.keys_empty, Config::kConsumerWarps);
  init(shared.q_full, 1);
  init(shared.q_raw, 1);
  init(shared.q_empty, Config::kConsumerWarps);
  init(shared.dout_full, 1);
  init(shared.dout_raw, 1);
  init(shared.dout_empty, Config::kConsumerWarps);
  mbarrier_init(&shared.dscores_full, Config::kHasRoles ? kWarps : Config::kConsumerWarps);
  mbarrier_init(&shared.dscores_empty, Config::kConsumerWarps);
  if constexpr (Config::kHasRoles) {
    mbarrier_init(&shared.handed_on.probs_full, kWarps);
  } else {
    init(shared.handed_on.sums_full, kWarps);
    init(shared.handed_on.sums_empty, 1);
  }
  mbarrier_init_fence();
}

// attention_backward_flash_sm90
//
// Computes    S = scale·Q Kᵀ + mask,  P = exp(S − L)                            (1), (3)
//             dV = (Z∘P)ᵀ dO                                                    (8)
//             dS = P∘(Z∘(dO Vᵀ) − Δ)                                            (9), (10)
//             dQ = scale·dS K,  dK = scale·dSᵀ Q                                (12), (13)
//             of docs/attention_backward.md; FlashAttention-2, Alg. 2; FlashAttention-3, §B.1
// Shapes      q dout [B,Tq,Hq,D]  k v [B,Tk,Hkv,D]  statistics  →  dq; dk, dv
// Mapping     persistent blocks take items, 128 keys of a key head, and go through the queries of
//             its group in steps of kBlockQ. Two consumer warpgroups with 64 keys each make
//             transposed scores, so that P and dS are left operands as they lie in registers; dS K
//             needs the keys of both, and goes through shared memory to f32 sums of all blocks,
//             of which another kernel makes dq. Warps of the first warpgroup: one loads, two add
//             to those sums, in a fixed order, one clears rows of padding. Above D = 128, items
//             have 64 keys, one consumer makes S and dV, the other dP and dK, and they add dS K
//             from registers, in any order
// Shared      K, V, of the next item what fits · Q, dO and statistics, two steps · dS ·
//             dS K, or P for the other consumer · items, barriers; 128-byte swizzle (struct Shared)
// Steps       [1] take an item  [2] load  [3] S = K Qᵀ, dP = V dOᵀ  [4] mask, P  [5] dropout, dS
//             [6] dV += (Z∘P)ᵀ dO, dK += dSᵀ Q  [7] dS K  [8] to the sums of all blocks
//             [9] scale, round, write dk, dv
// Requires    sm_90a; 16-bit types; D a multiple of 8 up to kHeadDim, the columns behind it arrive
//             as zeros; rows begin at multiples of 16 bytes; no bias          (checked in why_not)
// Numerics    S, P, dP, dS and sums in f32; Z∘P and dS rounded to the input type before [6];
//             exponents in base 2 with scale·log2e folded in
// Cost        10·B·Hq·Tq·Tk·D FLOP, half if causal; adds Tk/kBlockK times 4 bytes per element of dq
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_backward_flash_sm90_kernel(const __grid_constant__ typename Config::Params params) {
  extern __shared__ unsigned char shared_memory[];
  using Shared = typename Config::Shared;
  const uint32_t unaligned = shared_address(shared_memory) % Config::kAlignment;
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory + (Config::kAlignment - unaligned) %
                                                                  Config::kAlignment);
  let_next_grid_begin();
  if (threadIdx.x == 0) init_barriers<Config>(shared);
  __syncthreads();
  wait_for_grid_before();
  // [perf] By a shuffle, so that ptxas knows that a warp's lanes agree, and keeps what operands'
  // descriptions are made of in uniform registers.
  const int warpgroup =
      __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / Config::kWarpgroup, 0);
  if (warpgroup > 0) {
    take_registers<Config::kConsumerRegisters>();
    using Consumer = std::conditional_t<Config::kHasRoles, FlashBackwardSm90RoleConsumer<Config>,
                                        FlashBackwardSm90Consumer<Config>>;
    Consumer(params, shared, warpgroup - 1).run();
    return;
  }
  give_up_registers<Config::kProducerRegisters>();
  switch (const int warp = static_cast<int>(threadIdx.x) / kWarpSize) {
    case Config::kLoader: FlashBackwardSm90Loader<Config>(params, shared).run(); break;
    case Config::kCleaner: FlashBackwardSm90Cleaner<Config>(shared, params.call.group).run(); break;
    default:
      if constexpr (!Config::kHasRoles) {
        if (threadIdx.x % kWarpSize == 0) {
          FlashBackwardSm90Adder<Config>(params, shared, warp - Config::kFirstAdder).run();
        }
      }
  }
}

}  // namespace strobe
