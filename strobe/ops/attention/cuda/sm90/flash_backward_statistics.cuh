#pragma once

#include <cstdint>

#include "strobe/gpu/grid_dependency.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_params.h"

namespace strobe {

constexpr int kStatisticsRows = 8;  // of each group of lanes

// Lane l of a group of kLanes gets the sum of all its lanes' x[l % 8].
template <int kLanes>
__device__ __forceinline__ float sum_of_each(float (&x)[8]) {
  const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const bool is_upper = (lane & half) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float sent = is_upper ? x[i] : x[i + half], kept = is_upper ? x[i + half] : x[i];
      x[i] = kept + __shfl_xor_sync(kFullWarp, sent, half);
    }
  }
#pragma unroll
  for (int offset = 8; offset < kLanes; offset *= 2) {
    x[0] += __shfl_xor_sync(kFullWarp, x[0], offset);
  }
  return x[0];
}

// For a warp: whether packed sequences follow one another. Where they do not, there would be items
// that wait for additions which nobody makes.
template <class T>
__device__ __forceinline__ bool are_ascending(const AttentionCall<T>& call) {
  bool is_wrong = false;
  for (int s = static_cast<int>(threadIdx.x) % kWarpSize; s < call.sequences; s += kWarpSize) {
    for (const int32_t* cu_seqlens : {call.cu_seqlens_q, call.cu_seqlens_k}) {
      is_wrong |= cu_seqlens[s] < 0 || cu_seqlens[s + 1] < cu_seqlens[s];
    }
  }
  return __any_sync(kFullWarp, is_wrong) == 0;
}

// attention_backward_flash_sm90_statistics
//
// Computes    Δ = rowsum(dO∘O)                                                      (11)
//             of docs/attention_backward.md, L·log2e, and what else the kernel of all sums needs:
//             zeros in its counters and in those sums that do not begin with one, and in dq of
//             queries that see nothing
// Shapes      out dout [B,Tq,Hq,D]  lse [B,Hq,Tq]  →  statistics
// Mapping     kLanes lanes per 8 queries of a head, heads side by side as they lie in memory;
//             nearly all that a thread reads is on its way before the first is waited for
// Numerics    Δ is summed in f32 and multiplied by the keep rate, so that dropout's factor can be
//             left out until the last sum
// Cost        reads O and dO once
template <class T, int kBlockQ, int kLanes, int kThreads>
__global__ void __launch_bounds__(kThreads) attention_backward_flash_sm90_statistics_kernel(
    const __grid_constant__ FlashBackwardSm90Params<T> params) {
  let_next_grid_begin();
  constexpr float kLog2e = 1.4426950408889634f;
  constexpr int kCount = kVectorWidth<T>, kRows = kStatisticsRows;
  const auto& call = params.call;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
#pragma unroll 1
  for (int64_t i = thread; i < params.zeros / 4; i += threads) {
    reinterpret_cast<float4*>(params.query_sums)[i] = float4{};
  }
#pragma unroll 1
  for (int64_t i = thread; i < params.counters; i += threads) params.items_taken[i] = 0;
  if (call.is_packed() && thread < kWarpSize && !are_ascending(call) && thread == 0) {
    *params.items_taken = params.units * params.key_tiles;  // all, before they begin
  }

  const auto index = static_cast<uint32_t>(thread / kLanes);
  const uint32_t head = index % call.heads_q, row_tile = index / call.heads_q * kRows / kBlockQ;
  const int first_in_tile = static_cast<int>(index / call.heads_q * kRows % kBlockQ);
  const uint32_t first_tile = row_tile % params.query_tiles, batch = row_tile / params.query_tiles;
  const int batches = call.is_packed() ? 1 : call.sequences;
  const auto [sequence, tile] =
      call.is_packed()
          ? find_query_tile(call, kBlockQ, static_cast<int>(first_tile))
          : SequenceTile{min(static_cast<int>(batch), batches - 1), static_cast<int>(first_tile)};
  const AttentionDeviceSequence where = device_sequence(call, sequence);
  const int first = tile * kBlockQ + first_in_tile, first_row = where.first_q + first;
  const bool is_there = static_cast<int>(batch) < batches;  // not behind the last
  const int length = is_there ? static_cast<int>(where.visibility.seq_q) : 0;
  const int begin = static_cast<int>(where.visibility.queries.begin);
  const int end = is_there ? static_cast<int>(where.visibility.queries.end) : 0;

  const int lane = static_cast<int>(threadIdx.x) % kLanes, d = lane * kCount;
  float lse = -INFINITY;  // of query `lane`
  if (lane < kRows && first + lane >= begin && first + lane < end) {
    const int64_t head_row = static_cast<int64_t>(where.batch) * call.heads_q + head;
    lse = call.lse[head_row * call.seq_q + first_row + lane];
  }
  // [perf] Words, not elements, which would be taken apart, and so waited for, one by one.
  uint4 out[kRows] = {}, dout[kRows] = {};
  const T* out_row = call.out.row(where.batch, first_row, head) + d;
  const T* dout_row = call.dout.row(where.batch, first_row, head) + d;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (d < call.head_dim && first + i >= begin && first + i < end) {
      out[i] = load_16_once(out_row + i * call.out.time_stride);
      dout[i] = load_16_once(dout_row + i * call.dout.time_stride);
    }
  }
  float deltas[kRows] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const auto& x = reinterpret_cast<const WideVector<T>&>(out[i]);
    const auto& y = reinterpret_cast<const WideVector<T>&>(dout[i]);
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      deltas[i] = fmaf(to_float(x.element[e]), to_float(y.element[e]), deltas[i]);
    }
  }
  const float delta = sum_of_each<kLanes>(deltas);
  const bool sees_keys = lse != -INFINITY;
  const uint32_t seeing =
      __ballot_sync(kFullWarp, sees_keys) >> (threadIdx.x % kWarpSize / kLanes * kLanes);
#pragma unroll 1
  for (int i = 0; i < kRows; ++i) {
    if ((seeing >> i & 1) == 0 && first + i < length && d < call.head_dim) {
      store_vector<T, kCount>(call.dq.row(where.batch, first_row + i, head) + d,
                              Vector<T, kCount>{});
    }
  }
  if (lane >= kRows || !is_there) return;
  const float keep = 1.0f - static_cast<float>(call.dropout.threshold) / 256.0f;
  const int64_t head_row = static_cast<int64_t>(batch) * call.heads_q + head;
  float* to = params.statistics + (head_row * params.query_tiles + first_tile) * (2 * kBlockQ);
  to[first_in_tile + lane] = sees_keys ? lse * kLog2e : INFINITY;
  to[kBlockQ + first_in_tile + lane] = sees_keys ? delta * keep : 0;
}

}  // namespace strobe
