#pragma once

// Step [8] of attention_backward_flash_sm90 (flash_backward.cuh): dS K of all tiles of keys is
// added up in global memory, and becomes dq.

#include <cstdint>

#include "strobe/gpu/global_wait.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/ops/attention/cuda/packed_tile.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_config.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_rows.cuh"

namespace strobe {

// One thread has the parts that the consumers leave in shared memory added to the sums.
template <class Config>
class FlashBackwardSm90Adder {
 public:
  using Params = typename Config::Params;
  using Shared = typename Config::Shared;
  using Work = FlashBackwardSm90Work;

  __device__ FlashBackwardSm90Adder(const Params& params, Shared& shared)
      : params_(params), shared_(shared) {}

  __device__ void run() {
    RingPosition<Config::kWorkStages> at;
    while (true) {
      mbarrier_wait(&shared_.work_full[at.stage()], at.parity());
      const Work& work = shared_.work[at.stage()];
      if (work.key_head == Work::kEnd) break;
      if (params_.additions == nullptr) {
        add_item(work);
      } else {
        add_item_in_order(work);
      }
      mbarrier_arrive(&shared_.work_empty[at.stage()]);
      at.advance();
    }
    wait_until_written<0>();
  }

 private:
  static constexpr int kTileFloats = Config::kTileFloats;

  __device__ void add_item(const Work& work) {
    for (int head = 0; head < params_.call.group; ++head) {
      float* sums = params_.query_sums + first_query_sums(params_, work, head) * kTileFloats;
      for (int tile = work.step_begin; tile < work.step_end; ++tile) {
        add(sums + static_cast<int64_t>(tile) * kTileFloats, false);
      }
    }
  }

  // A tile's additions in the order of the items that make them. The first one overwrites what lies
  // there. Those that are waited for are of items taken before.
  __device__ void add_item_in_order(const Work& work) {
    const int copies = params_.sum_copies;
    int* unreported = nullptr;
    int turns = 0;
    for (int head = 0; head < params_.call.group; ++head) {
      for (int tile = work.step_begin; tile < work.step_end; ++tile) {
        const auto keys =
            work.key_tiles_of(tile * Config::kBlockQ, Config::kBlockQ, Config::kBlockK);
        const int order =
            params_.is_descending ? keys.end - 1 - work.key_tile : work.key_tile - keys.begin;
        const int turn = order / copies;
        const int64_t at = (first_query_sums(params_, work, head) + tile) * copies + order % copies;
        if (turn > 0) {
          wait_for_count(params_.additions + at, turn);
          fence_async_proxy_global();
        }
        add(params_.query_sums + at * kTileFloats, turn == 0);
        // The step before, whose additions have had this one's time.
        if (unreported != nullptr) {
          wait_until_written<Config::kConsumers>();
          report(unreported, turns);
        }
        unreported = params_.additions + at;
        turns = turn + 1;
      }
    }
    wait_until_written<0>();
    if (unreported != nullptr) report(unreported, turns);
  }

  __device__ void report(int* additions, int turns) {
    fence_async_proxy_global();
    __threadfence();
    *static_cast<volatile int*>(additions) = turns;
  }

  __device__ void add(float* to, bool overwrites) {
#pragma unroll
    for (int part = 0; part < Config::kConsumers; ++part) {
      mbarrier_wait(&shared_.handed_on.sums_full[part], parity_);
      float* part_sums = to + part * Config::kPartFloats;
      if (overwrites) {
        store_bulk(part_sums, shared_.handed_on.query_sums[part], Config::kPartBytes);
      } else {
        add_bulk(part_sums, shared_.handed_on.query_sums[part], Config::kPartBytes);
      }
      commit_stores();
    }
    wait_until_read<1>();
    mbarrier_arrive(&shared_.handed_on.sums_empty[0]);
    wait_until_read<0>();
    mbarrier_arrive(&shared_.handed_on.sums_empty[1]);
    parity_ ^= 1;
  }

  const Params& params_;
  Shared& shared_;
  uint32_t parity_ = 0;
};

// attention_backward_flash_sm90_query_sums
//
// Computes    dq = scale·Σ dS K, rounded; copies of a tile to which nothing was added are left out
// Shapes      query_sums  →  dq [B,Tq,Hq,D]
// Mapping     a block per tile of sums, a warp per 16 rows of both parts; what lies in memory as a
//             product makes it, 8 columns of all 64 rows, becomes 16 bytes of a row four at a time
// Cost        reads 4 bytes and writes 2 per element
template <class Config>
__global__ void __launch_bounds__(128)
    attention_backward_flash_sm90_query_sums_kernel(const __grid_constant__
                                                    typename Config::Params params) {
  constexpr int kProductFloats = 64 * 8, kGroups = Config::kPartColumns / (4 * 8);
  const auto& call = params.call;
  const int sum_tile = static_cast<int>(blockIdx.x) % params.query_tiles;
  const int head_row = static_cast<int>(blockIdx.x) / params.query_tiles;
  const auto [sequence, tile] = call.is_packed() ? find_query_tile(call, Config::kBlockQ, sum_tile)
                                                 : SequenceTile{head_row / call.heads_q, sum_tile};
  const AttentionDeviceSequence where = device_sequence(call, sequence);
  const float factor = call.scale * (Config::kHasDropout ? call.dropout.keep_scale() : 1.0f);
  constexpr int kTileFloats = Config::kTileFloats;
  const int copies = params.sum_copies;
  const int64_t first_copy = static_cast<int64_t>(blockIdx.x) * copies;
#pragma unroll
  for (int piece = 0; piece < Config::kConsumers * kGroups; ++piece) {
    float4 sum[4] = {};
    for (int copy = 0; copy < copies; ++copy) {
      const int64_t at = first_copy + copy;
      if (params.additions != nullptr && params.additions[at] == 0) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float* product =
            params.query_sums + at * kTileFloats + (piece * 4 + j) * kProductFloats;
        const float4 more = reinterpret_cast<const float4*>(product)[threadIdx.x];
        sum[j].x += more.x;
        sum[j].y += more.y;
        sum[j].z += more.z;
        sum[j].w += more.w;
      }
    }
    const auto pair = [&](int j, int half) {
      return half == 0 ? float2{sum[j].x, sum[j].y} : float2{sum[j].z, sum[j].w};
    };
    const int part = piece / kGroups;
    const int first_row = tile * Config::kBlockQ + static_cast<int>(threadIdx.x) / kWarpSize * 16 +
                          (Config::kSplitsRows ? part * 64 : 0);
    const OutputRows<typename Config::T> rows = {
        .first = call.dq.row(where.batch, where.first_q + first_row, head_row % call.heads_q),
        .stride = call.dq.time_stride,
        .rows = static_cast<int>(where.visibility.seq_q) - first_row,
        .columns = call.head_dim};
    rows.store(pair, (Config::kSplitsRows ? 0 : part * Config::kPartColumns) + piece % kGroups * 32,
               factor);
  }
}

}  // namespace strobe
