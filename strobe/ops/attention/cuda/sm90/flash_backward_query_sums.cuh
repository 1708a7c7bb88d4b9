#pragma once

// Step [8] of attention_backward_flash_sm90 (flash_backward.cuh): dS K of all tiles of keys is
// added up in global memory, and becomes dq.

#include <cstdint>

#include "strobe/gpu/global_wait.cuh"
#include "strobe/gpu/grid_dependency.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_config.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_rows.cuh"

namespace strobe {

// One thread for each consumer has the parts that the consumer leaves in shared memory added to the
// sums: to every tile in the order of tiles of keys, up or down, which gives the same bits each
// time, and the first of them overwrites what lies there.
//
// Nobody waits for ever: an item waits for items of its key head that are numbered before it, and
// blocks take items, and finish them, in the order of their numbers. So of all items that are not
// finished, the first waits for none, and its block is at it. Where packed sequences do not ascend,
// some would be missing, so there are none (are_ascending() in flash_backward_statistics.cuh).
template <class Config>
class FlashBackwardSm90Adder {
 public:
  using Params = typename Config::Params;
  using Shared = typename Config::Shared;
  using Work = FlashBackwardSm90Work;

  __device__ FlashBackwardSm90Adder(const Params& params, Shared& shared, int part)
      : params_(params), shared_(shared), part_(part) {}

  __device__ void run() {
    NarrowRingPosition<Config::kWorkStages> at;
    while (true) {
      mbarrier_wait(&shared_.work_full[at.stage()], at.parity());
      const Work& work = shared_.work[at.stage()];
      if (work.is_end()) break;
      add_item(work);
      mbarrier_arrive(&shared_.work_empty[at.stage()]);
      at.advance();
    }
    wait_until_written<0>();
  }

 private:
  __device__ void add_item(const Work& work) {
    const int first_sums = static_cast<int>(first_query_sums(params_, work, 0));
    for (int step = work.step_begin; step < work.step_end; ++step) {
      const int tile = Work::query_tile(step);
      const auto keys = work.key_tiles_of(tile * Config::kBlockQ, Config::kBlockQ, Config::kBlockK);
      const int lower = work.key_tile - keys.begin, higher = keys.end - 1 - work.key_tile;
      const int before = work.is_backward() ? lower : higher;
      for (int head = 0; head < params_.call.group; ++head) {
        const int sums = first_sums + head * params_.query_tiles + tile;
        add(sums * Config::kConsumers + part_, before, lower + higher - before);
      }
    }
  }

  // To part `at` of all sums, after `before` others and in front of `behind`.
  __device__ void add(int at, int before, int behind) {
    float* sums = params_.query_sums + int64_t{at} * Config::kPartFloats;
    const float* more = shared_.handed_on.query_sums[part_];
    int* additions = params_.additions + at;
    if (before > 0) {
      wait_for_count(additions, before);
      fence_async_proxy_global();
    }
    mbarrier_wait(&shared_.handed_on.sums_full[part_], parity_);
    fence_async_proxy();
    parity_ ^= 1;
    const uint32_t bytes = Config::kPartQueries * Config::part_columns(part_) * sizeof(float);
    if (before == 0) {
      store_bulk(sums, more, bytes);
    } else {
      add_bulk(sums, more, bytes);
    }
    commit_stores();
    wait_until_read<0>();
    mbarrier_arrive(&shared_.handed_on.sums_empty[part_]);
    if (behind > 0) {
      wait_until_written<0>();
      fence_async_proxy_global();
      set_count(additions, before + 1);
    } else if (before == 0) {
      *additions = 1;  // read by the next kernel
    }
  }

  const Params& params_;
  Shared& shared_;
  const int part_;
  uint32_t parity_ = 0;
};

// attention_backward_flash_sm90_query_sums
//
// Computes    dq = scale·Σ dS K, rounded; of queries to whose tile nothing was added, 0 stays
// Shapes      query_sums  →  dq [B,Tq,Hq,D]
// Mapping     a block per part of a tile of sums, a warp per 16 queries; what lies in memory as a
//             product makes it, 16 columns of 8 queries, becomes 16 bytes of a query four at a time
// Cost        reads 4 bytes and writes 2 per element
template <class Config>
__global__ void __launch_bounds__(Config::kRoundingThreads)
    attention_backward_flash_sm90_query_sums_kernel(const __grid_constant__
                                                    typename Config::Params params) {
  constexpr int kGroupColumns = 4 * 8, kGroups = Config::kPartColumns / kGroupColumns;
  const auto& call = params.call;
  const int part = static_cast<int>(blockIdx.x) % Config::kConsumers;
  const int index = static_cast<int>(blockIdx.x) / Config::kConsumers;
  const int sum_tile = index % params.query_tiles, head_row = index / params.query_tiles;
  const auto [sequence, tile] = call.is_packed() ? find_query_tile(call, Config::kBlockQ, sum_tile)
                                                 : SequenceTile{head_row / call.heads_q, sum_tile};
  const AttentionDeviceSequence where = device_sequence(call, sequence);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int first_row = tile * Config::kBlockQ + warp * 16 +
                        (Config::kSplitsQueries ? part * Config::kPartQueries : 0);
  const OutputRows<typename Config::T> rows = {
      .first = call.dq.row(where.batch, where.first_q + first_row, head_row % call.heads_q),
      .stride = call.dq.time_stride,
      .rows = static_cast<int>(where.visibility.seq_q) - first_row,
      .columns = call.head_dim};
  const int first_column = Config::kSplitsQueries ? 0 : part * Config::kPartColumns;
  const float factor = call.scale * (Config::kHasDropout ? call.dropout.keep_scale() : 1.0f);
  const auto has_group = [&](int group) {
    return Config::kHeadDim % Config::kPartColumns == 0 ||
           group * kGroupColumns < Config::part_columns(part);
  };

  wait_for_grid_before();
  if (params.additions != nullptr && params.additions[blockIdx.x] == 0) return;
  const float* sums = params.query_sums + int64_t{blockIdx.x} * Config::kPartFloats +
                      (warp * 2 * kWarpSize + lane) * 4;
  float4 sum[kGroups][2][2] = {};  // columns of the group, queries: 16 and 8 of each
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* from = sums + (group * 2 + i / 2) * Config::kWarpFloats + i % 2 * kWarpSize * 4;
      if (has_group(group)) sum[group][i / 2][i % 2] = *reinterpret_cast<const float4*>(from);
    }
  }
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    if (!has_group(group)) continue;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      uint32_t word[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4& four = sum[group][i / 2][j];
        const float2 both = i % 2 == 0 ? float2{four.x, four.y} : float2{four.z, four.w};
        word[i] = transposed_matrix(pack<typename Config::T>(both.x * factor, both.y * factor));
      }
      rows.store(word, lane / 4 + 8 * j, first_column + group * kGroupColumns + lane % 4 * 8);
    }
  }
}

}  // namespace strobe
