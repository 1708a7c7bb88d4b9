#pragma once

#include <cstdint>

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_params.h"

namespace strobe {

// attention_backward_flash_sm90_statistics
//
// Computes    Δ = rowsum(dO∘O)                                                      (11)
//             of docs/attention_backward.md, L·log2e, and what else the kernel of all sums needs:
//             zeros in its sums and its counter, and in dq of queries that see nothing
// Shapes      out dout [B,Tq,Hq,D]  lse [B,Hq,Tq]  →  statistics
// Mapping     a block per tile of kBlockQ queries of a head, kLanes lanes per row
// Numerics    Δ is summed in f32 and multiplied by the keep rate, so that dropout's factor can be
//             left out until the last sum
// Cost        reads O and dO once
template <class T, int kBlockQ, int kLanes, int kThreads>
__global__ void __launch_bounds__(kThreads) attention_backward_flash_sm90_statistics_kernel(
    const __grid_constant__ FlashBackwardSm90Params<T> params) {
  constexpr float kLog2e = 1.4426950408889634f;
  constexpr int kCount = kVectorWidth<T>;
  const auto& call = params.call;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t i = thread; i < params.query_sum_floats / 4; i += threads) {
    reinterpret_cast<float4*>(params.query_sums)[i] = float4{};
  }
  for (int64_t i = thread; i < params.counters; i += threads) params.items_taken[i] = 0;

  // In the order of memory: heads, then queries.
  const int head = static_cast<int>(blockIdx.x) % call.heads_q;
  const int row_tile = static_cast<int>(blockIdx.x) / call.heads_q;
  const int first_tile = row_tile % params.query_tiles, batch = row_tile / params.query_tiles;
  const auto [sequence, tile] = call.is_packed() ? find_query_tile(call, kBlockQ, first_tile)
                                                 : SequenceTile{batch, first_tile};
  const AttentionDeviceSequence where = device_sequence(call, sequence);
  const Span queries = where.visibility.queries;
  const int length = static_cast<int>(where.visibility.seq_q), lane = threadIdx.x % kLanes;
  const float keep = 1.0f - static_cast<float>(call.dropout.threshold) / 256.0f;
  // All rows of a thread are on their way before the first is waited for.
  constexpr int kRowStep = kThreads / kLanes, kRows = kBlockQ / kRowStep;
  const int d = lane * kCount;
  Vector<T, kCount> out[kRows] = {}, dout[kRows] = {};
  float lse[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int query = tile * kBlockQ + threadIdx.x / kLanes + i * kRowStep;
    const int row = where.first_q + query;
    lse[i] = -INFINITY;
    if (query >= queries.begin && query < queries.end) {
      const int64_t head_row = static_cast<int64_t>(where.batch) * call.heads_q + head;
      lse[i] = call.lse[head_row * call.seq_q + row];
      if (d < call.head_dim) {
        out[i] = load_vector<T, kCount>(call.out.row(where.batch, row, head) + d);
        dout[i] = load_vector<T, kCount>(call.dout.row(where.batch, row, head) + d);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int in_tile = threadIdx.x / kLanes + i * kRowStep, query = tile * kBlockQ + in_tile;
    const bool sees_keys = lse[i] != -INFINITY;
    if (!sees_keys && query < length && d < call.head_dim) {
      store_vector<T, kCount>(call.dq.row(where.batch, where.first_q + query, head) + d,
                              Vector<T, kCount>{});
    }
    float delta = 0;
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      delta = fmaf(to_float(out[i].element[e]), to_float(dout[i].element[e]), delta);
    }
    delta = reduce_warp<Sum, kLanes>(delta);
    if (lane == 0) {
      const int64_t head_row = static_cast<int64_t>(batch) * call.heads_q + head;
      float* to = params.statistics + (head_row * params.query_tiles + first_tile) * (2 * kBlockQ);
      to[in_tile] = sees_keys ? lse[i] * kLog2e : INFINITY;
      to[kBlockQ + in_tile] = sees_keys ? delta * keep : 0;
    }
  }
}

}  // namespace strobe
