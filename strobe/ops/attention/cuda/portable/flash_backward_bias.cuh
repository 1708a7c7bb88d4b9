#pragma once

#include <cstdint>

#include "strobe/ops/attention/cuda/portable/flash_backward_block.cuh"

namespace strobe {

// Where the gradient of the bias goes: contiguous, in the bias' shape.
struct BiasGradient {
  float* data = nullptr;
  int batches = 0, heads = 0, queries = 0;  // 1 where the bias is broadcast
};

// attention_backward_flash_bias
//
// Computes    dbias = dS, summed over the dimensions in which the bias is broadcast      (14)
// Shapes      as attention_backward_flash  →  dbias f32 [B or 1, Hq or 1, Tq or 1, Tk]
// Mapping     one block per tile of dbias, which goes through all scores that were given that
//             bias, batch by batch and head by head, so that the order of the sum is always the
//             same. Broadcast over queries, it goes through their tiles too, and the rows are
//             added up last: lanes, then warps
// Shared      as attention_backward_flash with queries as rows, one tile of columns
// Numerics    S, P, dP, dS and sums in f32
// Cost        4·B·Hq·Tq·Tk·D FLOP; through L2, q, dout once a tile of columns, k, v of rows
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1) attention_backward_flash_bias_kernel(
    const __grid_constant__ FlashBackwardParams<typename Config::T> params,
    const __grid_constant__ BiasGradient dbias) {
  using Block = FlashBackwardBlock<Config>;
  constexpr int kColumns = Config::kStreamRows;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<typename Config::Shared*>(shared_memory);
  const bool sums_queries = dbias.queries == 1;
  const int row_tiles = (params.seq_q + Config::kBlockRows - 1) / Config::kBlockRows;
  const int own_row_tiles = sums_queries ? 1 : row_tiles;
  const int column_tiles = (params.seq_k + kColumns - 1) / kColumns;
  const int column = static_cast<int>(blockIdx.x) % column_tiles * kColumns;
  int rest = static_cast<int>(blockIdx.x) / column_tiles;
  const int own_row_tile = rest % own_row_tiles;
  rest /= own_row_tiles;
  const int own_head = rest % dbias.heads, own_batch = rest / dbias.heads;

  typename Block::Scores sums[Block::kSteps] = {};
  for (int batch = own_batch; batch < params.sequences; batch += dbias.batches) {
    for (int head = own_head; head < params.heads_q; head += dbias.heads) {
      for (int t = own_row_tile; t < row_tiles; t += own_row_tiles) {
        Block block(params, shared, device_sequence(params, batch), t, head);
        block.add_dscores(column, sums);
      }
    }
  }

  const float keep_scale = Config::kHasDropout ? params.dropout.keep_scale() : 1.0f;
  float* plane = dbias.data + (static_cast<int64_t>(own_batch) * dbias.heads + own_head) *
                                  dbias.queries * params.seq_k;
  const Block block(params, shared, device_sequence(params, own_batch), own_row_tile, own_head);
  const auto column_of = [&](int i, int n, int e) {
    return i * Config::kStep + Block::column_of(n, e);
  };
  const auto for_each_sum = [&](const auto& function) {
#pragma unroll
    for (int i = 0; i < Block::kSteps; ++i) {
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) function(i, n, e);
      }
    }
  };
  if (!sums_queries) {
    for_each_sum([&](int i, int n, int e) {
#pragma unroll
      for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = block.first_row() + Block::row_of(m, 2 * half);
          const int key = column + column_of(i, n, e);
          if (row < params.seq_q && key < params.seq_k) {
            plane[static_cast<int64_t>(row) * params.seq_k + key] =
                sums[i][m][n][2 * half + e] * keep_scale;
          }
        }
      }
    });
    return;
  }

  __shared__ float warp_sums[Config::kTile.warps][kColumns];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for_each_sum([&](int i, int n, int e) {
    float sum = 0;
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) sum += sums[i][m][n][e] + sums[i][m][n][2 + e];
#pragma unroll
    for (int offset = 4; offset < kWarpSize; offset *= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    if (threadIdx.x % kWarpSize < 4) warp_sums[warp][column_of(i, n, e)] = sum;
  });
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x);
  if (i < kColumns && column + i < params.seq_k) {
    float sum = 0;
    for (int w = 0; w < Config::kTile.warps; ++w) sum += warp_sums[w][i];
    plane[column + i] = sum * keep_scale;
  }
}

}  // namespace strobe
