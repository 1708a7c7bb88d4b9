#pragma once

#include <cstdint>

#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_block.cuh"

namespace strobe {

// attention_backward_flash
//
// Computes    S = scale·Q Kᵀ + bias + mask,  P = exp(S − L)                     (1), (3)
//             dV = (Z∘P)ᵀ dO                                                    (8)
//             dS = P∘(Z∘(dO Vᵀ) − Δ)                                            (9), (10)
//             dQ = scale·dS K,  dK = scale·dSᵀ Q                                (12), (13)
//             of docs/attention_backward.md; FlashAttention-2, Alg. 2
// Shapes      q dout [B,Tq,Hq,D]  k v [B,Tk,Hkv,D]  statistics [B,Hq,Tq]  →  dq; dk, dv
// Mapping     one block per tile of rows of scores, with queries or keys as rows (BackwardSums). A
//             warp owns rows from the first product to the last sum, so P and dS stay in its
//             registers and no sum depends on who is faster; keys as rows go through the queries of
//             all heads of their group. BackwardSums::all shares dS through memory instead of
//             making it twice, and adds dS K to f32 sums of all blocks, in any order
// Shared      the rows' tiles · one or two tiles of columns, swizzled · P, dS     (struct Shared)
// Steps       [1] load rows, and ahead columns  [2] S and dP  [3] mask, P  [4] dropout, dS
//             [5] dV += (Z∘P)ᵀ dO, dK += dSᵀ Q, or dQ += dS K  [6] dS K to the sums of all blocks
//             [7] scale, round, write
// Requires    head_dim ≤ D, a multiple of 8; sm_75 (f16, f32) or sm_80         (checked in why_not)
// Numerics    S, P, dP, dS and sums in f32; Z∘P and dS rounded to the input type before [5], P to
//             f16 where it goes from one warp to another; exponents in base 2 with scale·log2e
//             folded in, in f32 natural ones; f32 as three products of tf32, or FMA
// Cost        6 (queries), 8 (keys), 10 (all) ·B·Hq·Tq·Tk·D FLOP, half if causal
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kTile.blocks_per_sm)
    attention_backward_flash_kernel(
        const __grid_constant__ FlashBackwardParams<typename Config::T> params) {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const int heads = Config::kRowsAreKeys ? params.heads_kv : params.heads_q;
  const int tiles = Config::kRowsAreKeys ? params.key_tiles : params.query_tiles;
  int tile = static_cast<int>(blockIdx.x) % tiles;
  const int head = static_cast<int>(blockIdx.x) / tiles % heads;
  int sequence = static_cast<int>(blockIdx.x) / tiles / heads;
  // The longest first: under a causal mask, the first keys and the last queries.
  if (!Config::kRowsAreKeys) tile = tiles - 1 - tile;
  if (params.is_packed()) {
    const int32_t* cu_seqlens = Config::kRowsAreKeys ? params.cu_seqlens_k : params.cu_seqlens_q;
    const SequenceTile found =
        find_packed_tile(cu_seqlens, params.sequences, Config::kBlockRows, tile);
    if (found.sequence < 0) return;
    tile = found.tile;
    sequence = found.sequence;
  }
  auto& shared = *reinterpret_cast<typename Config::Shared*>(shared_memory);
  FlashBackwardBlock<Config> block(params, shared, device_sequence(params, sequence), tile, head);
  block.run();
}

}  // namespace strobe
