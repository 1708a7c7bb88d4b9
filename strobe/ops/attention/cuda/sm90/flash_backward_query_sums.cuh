#pragma once

// Step [8] of attention_backward_flash_sm90 (flash_backward.cuh): dS K of all tiles of keys is
// added up in global memory, and becomes dq.

#include <cstdint>

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
      add_item(work);
      mbarrier_arrive(&shared_.work_empty[at.stage()]);
      at.advance();
    }
    wait_until_written<0>();
  }

 private:
  __device__ void add_item(const Work& work) {
    const int group = params_.call.group;
    for (int head = 0; head < group; ++head) {
      const int64_t first_tile =
          (static_cast<int64_t>(work.unit) * group + head) * params_.query_tiles +
          work.first_query_tile;
      for (int tile = work.step_begin; tile < work.step_end; ++tile) {
        add(params_.query_sums + (first_tile + tile) * (Config::kConsumers * Config::kPartFloats));
      }
    }
  }

  __device__ void add(float* to) {
#pragma unroll
    for (int part = 0; part < Config::kConsumers; ++part) {
      mbarrier_wait(&shared_.sums_full[part], parity_);
      add_bulk(to + part * Config::kPartFloats, shared_.query_sums[part], Config::kPartBytes);
      commit_stores();
    }
    wait_until_read<1>();
    mbarrier_arrive(&shared_.sums_empty[0]);
    wait_until_read<0>();
    mbarrier_arrive(&shared_.sums_empty[1]);
    parity_ ^= 1;
  }

  const Params& params_;
  Shared& shared_;
  uint32_t parity_ = 0;
};

// attention_backward_flash_sm90_query_sums
//
// Computes    dq = scale·Σ dS K, rounded
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
  const float* sums = params.query_sums +
                      static_cast<int64_t>(blockIdx.x) * (Config::kConsumers * Config::kPartFloats);
#pragma unroll
  for (int piece = 0; piece < Config::kConsumers * kGroups; ++piece) {
    float4 sum[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float* product = sums + (piece * 4 + j) * kProductFloats;
      sum[j] = reinterpret_cast<const float4*>(product)[threadIdx.x];
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
