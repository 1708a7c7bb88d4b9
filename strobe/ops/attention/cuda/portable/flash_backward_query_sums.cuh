#pragma once

#include <cstdint>

#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_config.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_fragments.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_load.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_params.h"

namespace strobe {

// attention_backward_flash_query_sums
//
// Computes    dQ = scale/keep · Σ dS K, of the sums that BackwardSums::all leaves          (12)
// Shapes      query_sums  →  dq [B,Tq,Hq,D]
// Mapping     one block per tile of sums; a thread reads fragments as add_query_sums() wrote them
// Shared      the tile, rounded, swizzled
// Cost        reads 4 bytes and writes sizeof(T) per element
template <class Config>
__global__ void __launch_bounds__(Config::kThreads) attention_backward_flash_query_sums_kernel(
    const __grid_constant__ FlashBackwardParams<typename Config::T> params) {
  using T = typename Config::T;
  constexpr int kRows = kQuerySumRows / Config::kQueryWarpRows;
  constexpr int kColumns = Config::kHeadDim / Config::kQueryWarpColumns;
  constexpr int kFragments = kRows * kColumns / (4 * kWarpSize), kColumnTiles = kColumns / 8;
  __shared__ __align__(128) unsigned char rows[kQuerySumRows * Config::kHeadDim * sizeof(T)];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int sum_tile = static_cast<int>(blockIdx.x) % params.query_sum_tiles;
  const int head_row = static_cast<int>(blockIdx.x) / params.query_sum_tiles;
  const auto* sums =
      reinterpret_cast<const float4*>(params.query_sums + static_cast<int64_t>(blockIdx.x) *
                                                              kQuerySumRows * Config::kHeadDim) +
      warp * (kFragments * kWarpSize) + lane;
  const auto [sequence, tile] = params.is_packed()
                                    ? find_query_tile(params, kQuerySumRows, sum_tile)
                                    : SequenceTile{head_row / params.heads_q, sum_tile};
  const AttentionDeviceSequence where = device_sequence(params, sequence);
  const int length = static_cast<int>(where.visibility.seq_q), first = tile * kQuerySumRows;
  if (first >= length) return;

  const float factor = params.scale * (Config::kHasDropout ? params.dropout.keep_scale() : 1.0f);
  const AccumulatorWriter<T, Config::kHeadDim> write({shared_address(rows)});
#pragma unroll
  for (int i = 0; i < kFragments; ++i) {
    const float4 sum = sums[i * kWarpSize];
    write(warp / Config::kQueryWarpColumns * kRows + i / kColumnTiles * 16,
          warp % Config::kQueryWarpColumns * kColumns + i % kColumnTiles * 8,
          {sum.x, sum.y, sum.z, sum.w}, factor);
  }
  __syncthreads();
  const auto to =
      SequenceRows<T>::of(params.dq, where.batch, where.first_q, head_row % params.heads_q);
  store_rows<T, Config::kHeadDim, kQuerySumRows, Config::kThreads>(to, rows, first, length,
                                                                   params.head_dim);
}

}  // namespace strobe
