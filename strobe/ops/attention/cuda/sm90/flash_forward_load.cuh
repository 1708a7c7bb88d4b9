#pragma once

// The producer warpgroup of attention_forward_flash_sm90 (flash_forward.cuh): a warp that places
// tiles of queries, one that loads, and one that clears what must not be multiplied.

#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/mbarrier.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_shared.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_work.cuh"

namespace strobe {

// [1], [2] For one thread: the copies of a tile of queries and of all its tiles of keys and values.
template <class Config>
class FlashForwardSm90Loader {
  using Shared = FlashForwardSm90Shared<Config>;
  using Params = typename Config::Params;
  static constexpr int kBlockK = Config::kBlockK, kColumns = Config::kColumns;
  static constexpr uint32_t kRowBytes = Config::kPanels * kColumns * 2;

 public:
  __device__ FlashForwardSm90Loader(Shared& shared, const Params& params)
      : shared_(shared), params_(params) {}

  __device__ void load(const FlashForwardSm90Work& work) {
    load_queries(work);
    RingPosition<Config::kStages> values = tiles_;  // the same stage as its keys, a tile later
    for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
      load_keys(work, tile);
      if (tile > work.tile_begin) {
        load_values(work, tile - 1, values);
        values.advance();
      }
    }
    load_values(work, work.tile_end - 1, values);
  }

 private:
  __device__ void load_queries(const FlashForwardSm90Work& work) {
    const int stage = queries_.stage();
    mbarrier_wait(&shared_.q_empty[stage], queries_.parity() ^ 1);
    mbarrier_arrive_expecting(&shared_.q_full[stage], Config::kBlockQ * kRowBytes);
    for (int i = 0; i < Config::kPanels; ++i) {
      load_box(shared_.q[stage][i], params_.q, &shared_.q_full[stage], i * kColumns, work.first_row,
               work.head, work.batch);
    }
    queries_.advance();
  }

  __device__ void load_keys(const FlashForwardSm90Work& work, int tile) {
    const int stage = tiles_.stage();
    mbarrier_wait(&shared_.k_empty[stage], tiles_.parity() ^ 1);
    load_tile_of(params_.k, work, tile, shared_.k[stage], &shared_.k_full[stage]);
    tiles_.advance();
  }

  __device__ void load_values(const FlashForwardSm90Work& work, int tile,
                              const RingPosition<Config::kStages>& at) {
    const int stage = at.stage();
    mbarrier_wait(&shared_.v_empty[stage], at.parity() ^ 1);
    load_tile_of(
        params_.v, work, tile, shared_.v[stage],
        work.has_foreign_keys(tile, kBlockK) ? &shared_.v_raw[stage] : &shared_.v_full[stage]);
  }

  template <class Panels>
  __device__ void load_tile_of(const CUtensorMap& map, const FlashForwardSm90Work& work, int tile,
                               Panels& to, Mbarrier* barrier) {
    mbarrier_arrive_expecting(barrier, kBlockK * kRowBytes);
    for (int i = 0; i < Config::kPanels; ++i) {
      load_box(to[i], map, barrier, i * kColumns, work.first_key_row + tile * kBlockK,
               work.head / params_.call.group, work.batch);
    }
  }

  Shared& shared_;
  const Params& params_;
  RingPosition<Config::kQueryStages> queries_;
  RingPosition<Config::kStages> tiles_;
};

// [7] For a warp: the rows of a tile that sees nothing.
template <class T>
__device__ void write_nothing(const FlashForwardSm90Params<T>& params,
                              const FlashForwardSm90Work& work) {
  const int lane = threadIdx.x % kWarpSize;
  for (int row = 0; row < work.rows; ++row) {
    T* out = params.call.out.row(work.batch, work.first_row + row, work.head);
    for (int column = lane * 8; column < params.call.head_dim; column += kWarpSize * 8) {
      *reinterpret_cast<uint4*>(out + column) = {};
    }
    if (lane == 0) params.call.lse[work.lse_row + row] = -INFINITY;
  }
}

// [1] For a warp: places tile after tile of queries, and hands on those that see anything.
template <class Config>
__device__ void place_works(FlashForwardSm90Shared<Config>& shared,
                            const typename Config::Params& params) {
  const bool is_elected = threadIdx.x % kWarpSize == 0;
  RingPosition<Config::kWorkStages> at;
  for (;;) {
    const int taken = is_elected ? atomicAdd(params.counter, 1) : 0;
    const int index = __shfl_sync(kFullWarp, taken, 0);
    if (index >= params.tiles) break;
    const ForwardWork place = forward_work(params.grid, params.call, Config::kBlockQ, index);
    if (place.sequence < 0) continue;
    FlashForwardSm90Work& work = shared.work[at.stage()];
    if (is_elected) {
      mbarrier_wait(&shared.work_empty[at.stage()], at.parity() ^ 1);
      work = forward_sm90_work<Config::kConsumers, Config::kBlockK, Config::kPartK>(params.call,
                                                                                    place);
    }
    __syncwarp();
    if (work.has_tiles()) {
      share_key_tiles<Config::kConsumers, Config::kBlockK, Config::kPartK>(work);
      __syncwarp();
      if (is_elected) mbarrier_arrive(&shared.work_full[at.stage()]);
      at.advance();
    } else {
      write_nothing(params, work);
    }
    __syncwarp();
  }
  if (is_elected) {
    mbarrier_wait(&shared.work_empty[at.stage()], at.parity() ^ 1);
    shared.work[at.stage()] = {};
    mbarrier_arrive(&shared.work_full[at.stage()]);
  }
}

// [1], [2] For one thread.
template <class Config>
__device__ void load_works(FlashForwardSm90Shared<Config>& shared,
                           const typename Config::Params& params) {
  for (const CUtensorMap* map : {&params.q, &params.k, &params.v, &params.out}) prefetch_map(*map);
  FlashForwardSm90Loader<Config> loader(shared, params);
  for (RingPosition<Config::kWorkStages> at;; at.advance()) {
    mbarrier_wait(&shared.work_full[at.stage()], at.parity());
    const FlashForwardSm90Work& work = shared.work[at.stage()];
    if (work.is_end()) return;
    loader.load(work);
    mbarrier_arrive(&shared.work_empty[at.stage()]);
  }
}

// [2] For a warp: clears values of foreign keys between their arrival and their use.
template <class Config>
__device__ void clear_foreign_values(FlashForwardSm90Shared<Config>& shared) {
  constexpr int kBlockK = Config::kBlockK, kChunks = 8;  // of 16 bytes, in a row of a panel
  const int lane = threadIdx.x % kWarpSize;
  RingPosition<Config::kWorkStages> at;
  RingPosition<Config::kStages> values;
  uint32_t parities = 0;  // of v_raw, whose phases only tiles with foreign keys end
  for (;; at.advance()) {
    mbarrier_wait(&shared.work_full[at.stage()], at.parity());
    const FlashForwardSm90Work& work = shared.work[at.stage()];
    if (work.is_end()) return;
    for (int tile = work.tile_begin; tile < work.tile_end; ++tile, values.advance()) {
      if (!work.has_foreign_keys(tile, kBlockK)) continue;
      const int stage = values.stage();
      mbarrier_wait(&shared.v_raw[stage], parities >> stage & 1);
      parities ^= 1u << stage;
      const int begin = work.own_keys_begin - tile * kBlockK;
      const int end = work.own_keys_end - tile * kBlockK;
      const uint32_t address = shared_address(shared.v[stage]);
      for (int i = lane; i < Config::kPanels * kBlockK * kChunks; i += kWarpSize) {
        const int row = i / kChunks % kBlockK;
        if (row < begin || row >= end) store_shared_16(address + i * 16, {});
      }
      fence_async_proxy();
      __syncwarp();
      if (lane == 0) mbarrier_arrive(&shared.v_full[stage]);
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(&shared.work_empty[at.stage()]);
  }
}

}  // namespace strobe
