#pragma once

// attention_forward_flash_portable
//
// Computes    S = scale·Q Kᵀ + bias, masked                            (1)
//             O = (Z∘softmax(S)) V,   L = m + ln l                     (2), (4) by (5)–(7)
// Shapes      q [B,Tq,Hq,D]  k,v [B,Tk,Hkv,D]  →  out [B,Tq,Hq,D]  lse [B,Hq,Tq] f32; f16 or bf16
// Mapping     one CTA per (query tile, head, sequence); a warp owns 16 or 32 of its rows. Causal:
//             longest tiles first within a section of heads whose keys and values fit in L2
// Shared      Q kBlockQ×D · K,V kStages×kBlockK×D, swizzled (swizzled_offset)
// Steps       [1] load Q  [2] load K,V one tile ahead  [3] S=QKᵀ  [4] bias, mask  [5] update m, l;
//             rescale O  [6] P = 2^(S − m), dropout, O += PV  [7] write O, L
// Requires    sm_80 (sm_75: f16, without [2] ahead); D a multiple of 8 up to kHeadDim, the columns
//             behind it are zeros                                      (checked in why_not)
// Numerics    S, m, l, O in f32; P rounded to the input type before [6]; base-2 exponent with
//             scale·log₂e folded in
// Cost        4·B·Hq·Tq·Tk·D FLOP (half if causal); reads Q once, K,V ⌈Tq/kBlockQ⌉ times through L2

#include <cuda_runtime.h>

#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/dropout_fragment.cuh"
#include "strobe/ops/attention/cuda/portable/flash_forward_warp.cuh"
#include "strobe/ops/attention/cuda/portable/forward_grid.cuh"
#include "strobe/ops/attention/cuda/portable/tile_copy.cuh"

namespace strobe {

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    attention_forward_flash_portable_kernel(
        const __grid_constant__ AttentionForwardParams<typename Config::T> p,
        const __grid_constant__ ForwardGrid grid) {
  using T = typename Config::T;
  constexpr int kBlockQ = Config::kBlockQ, kBlockK = Config::kBlockK;
  constexpr int kHeadDim = Config::kHeadDim, kThreads = Config::kThreads;
  extern __shared__ __align__(128) unsigned char shared[];

  const ForwardWork work = forward_work(grid, p, kBlockQ, static_cast<int>(blockIdx.x));
  if (work.sequence < 0) return;
  const AttentionDeviceSequence sequence = device_sequence(p, work.sequence);
  const Visibility& visibility = sequence.visibility;
  const int seq_q = static_cast<int>(visibility.seq_q);
  const int first_row = work.tile * kBlockQ;
  const auto rows_of = [&](int begin, int count) { return Span{begin, min(begin + count, seq_q)}; };
  const KeyTiles tiles = visibility.key_tiles(rows_of(first_row, kBlockQ), kBlockK);
  const int warp_row = first_row + static_cast<int>(threadIdx.x) / 32 * Config::kRowsPerWarp;
  const KeyTiles warp_tiles =
      visibility.key_tiles(rows_of(warp_row, Config::kRowsPerWarp), kBlockK);
  const int first_tile = static_cast<int>(tiles.first), last_tile = static_cast<int>(tiles.last);

  const uint32_t shared_q = shared_address(shared);
  const uint32_t shared_k = shared_q + Config::kQueryBytes;
  const uint32_t shared_v = shared_k + Config::kStages * Config::kTileBytes;
  const int head_kv = work.head / p.group;
  const auto keys = head_rows(p.k, sequence.batch, sequence.first_k, head_kv);
  const auto values = head_rows(p.v, sequence.batch, sequence.first_k, head_kv);
  const auto load_keys_and_values = [&](int tile) {
    const uint32_t stage = tile % Config::kStages * Config::kTileBytes;
    const int begin = static_cast<int>(visibility.keys.begin);
    const int end = static_cast<int>(visibility.keys.end);
    load_tile<kBlockK, kHeadDim, kThreads, Config::kIsSm80>(shared_k + stage, keys, tile * kBlockK,
                                                            begin, end, p.head_dim);
    load_tile<kBlockK, kHeadDim, kThreads, Config::kIsSm80>(shared_v + stage, values,
                                                            tile * kBlockK, begin, end, p.head_dim);
    if constexpr (Config::kIsSm80) cp_async_commit();
  };

  // [1]
  load_tile<kBlockQ, kHeadDim, kThreads, Config::kIsSm80>(
      shared_q, head_rows(p.q, sequence.batch, sequence.first_q, work.head), first_row,
      static_cast<int>(visibility.queries.begin), static_cast<int>(visibility.queries.end),
      p.head_dim);
  if constexpr (Config::kIsSm80) {
    cp_async_commit();
    if (first_tile < last_tile) load_keys_and_values(first_tile);
    cp_async_wait<1>();
  }
  __syncthreads();

  float scale = p.scale;
  if (!(scale > 0)) {  // the largest score must come of the largest product
    negate_or_clear<kThreads>(shared_q, Config::kQueryBytes, scale == 0);
    __syncthreads();
    scale = scale == 0 ? 1 : -scale;
  }
  FlashForwardWarp<Config> warp(shared_q, visibility, warp_row, scale);
  warp.take_queries();
  const PhiloxKey key = Config::kHasDropout ? p.dropout.current_key() : PhiloxKey{};
  const uint32_t dropout_head = sequence.dropout_head + work.head;
  const DropoutRowBlock dropout[2] = {
      DropoutRowBlock(p.dropout, key, dropout_head, warp_row / 16),
      DropoutRowBlock(p.dropout, key, dropout_head, warp_row / 16 + 1)};
  const float* bias = p.bias.data == nullptr ? nullptr : p.bias.row(sequence.batch, work.head, 0);

  for (int tile = first_tile; tile < last_tile; ++tile) {
    // [2] What the barrier makes visible has arrived, and the other stage is free.
    if constexpr (Config::kIsSm80) {
      cp_async_wait<0>();
      __syncthreads();
      if (tile + 1 < last_tile) load_keys_and_values(tile + 1);
    } else {
      if (tile > first_tile) __syncthreads();
      load_keys_and_values(tile);
      __syncthreads();
    }
    if (tile < warp_tiles.first || tile >= warp_tiles.last) continue;
    const uint32_t stage = tile % Config::kStages * Config::kTileBytes;
    warp.multiply_keys(shared_k + stage, tile * kBlockK, dropout);
    if (bias != nullptr) warp.add_bias(bias, p.bias.query_stride, tile * kBlockK, visibility);
    if (tile < warp_tiles.full_begin || tile >= warp_tiles.full_end) warp.mask(tile * kBlockK);
    warp.update_maxima();
    warp.multiply_values(shared_v + stage, tile * kBlockK, dropout);
  }

  // [7]
  if constexpr (Config::kIsSm80) cp_async_wait<0>();
  __syncthreads();
  float* lse = p.lse + (static_cast<int64_t>(sequence.batch) * p.heads_q + work.head) * p.seq_q +
               sequence.first_q;
  warp.write(shared_q, head_rows(p.out, sequence.batch, sequence.first_q, work.head), lse, seq_q,
             p.head_dim, Config::kHasDropout ? p.dropout.keep_scale() : 1.0f);
}

}  // namespace strobe
