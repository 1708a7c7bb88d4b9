#pragma once

// Steps [1] and [2] of attention_backward_flash_sm90 (flash_backward.cuh).

#include <cstdint>

#include "strobe/gpu/thread_index.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_config.cuh"

namespace strobe {

// The warp that takes items of work and has their tiles brought to shared memory.
template <class Config>
class FlashBackwardSm90Loader {
 public:
  using T = typename Config::T;
  using Params = typename Config::Params;
  using Shared = typename Config::Shared;
  using Work = FlashBackwardSm90Work;

  __device__ FlashBackwardSm90Loader(const Params& params, Shared& shared)
      : params_(params), shared_(shared) {}

  __device__ void run() {
    if (lane() == 0) {
      prefetch_map(params_.q);
      prefetch_map(params_.k);
      prefetch_map(params_.v);
      prefetch_map(params_.dout);
    }
    const int items = params_.units * params_.key_tiles;
    take();
    while (true) {
      wait(&shared_.work_empty[work_.stage()], work_.parity() ^ 1);
      const int index = __shfl_sync(kFullWarp, next_, 0);
      next_ = 0;  // [perf] takes no register until the next one is taken
      if (index >= items) break;
      Work& work = shared_.work[work_.stage()];
      set_backward_sm90_work<Config::kBlockQ, Config::kBlockK>(work, params_, index);
      __syncwarp();
      if (!work.has_steps()) {
        write_zeros(work);
        take();
      } else {
        work_.advance();  // [perf] here: the stage's place takes no register
        if (lane() == 0) mbarrier_arrive(&shared_.work_full[work_.before().stage()]);
        load(work);
      }
      __syncwarp();
    }
    if (lane() == 0) {
      shared_.work[work_.stage()].key_head = Work::kEnd;
      mbarrier_arrive(&shared_.work_full[work_.stage()]);
    }
  }

 private:
  // [perf] Asked for anew: registers are few. For the same reason all lanes go through the steps
  // alike, and loops' limits are the warp's.
  static __device__ int lane() { return thread_index() % kWarpSize; }
  static __device__ int uniform(int x) { return __shfl_sync(kFullWarp, x, 0); }
  // All lanes, before one of them fills the stage: for a lane that comes late, the phase would be
  // over, and the next one, too.
  static __device__ void wait(Mbarrier* empty, uint32_t parity) {
    mbarrier_wait(empty, parity);
    __syncwarp();
  }

  static constexpr bool kKeysWait = Config::kKeyBuffers == 2;

  __device__ void take() {
    if (lane() == 0) next_ = atomicAdd(params_.items_taken, 1);
  }

  // Keys that nobody sees.
  __device__ void write_zeros(const Work& work) const {
    const auto& call = params_.call;
    const int column = lane() * 8;
    if (column >= call.head_dim) return;
    for (const auto* view : {&call.dk, &call.dv}) {
      T* row = view->row(work.batch, work.first_key_row, work.key_head) + column;
#pragma unroll 1
      for (int left = work.key_rows; left > 0; --left) {
        *reinterpret_cast<uint4*>(row) = uint4{};
        row += view->time_stride;
      }
    }
  }

  // Of queries, from a step on.
  __device__ int loads(const Work& work, int step) const {
    return (work.step_end - step) * params_.call.group;
  }

  // In the order in which room for them becomes free, and in which they are needed.
  __device__ void load(const Work& work) {
    load_keys(params_.v, work);
    for (int step = uniform(work.step_begin); step < uniform(work.step_end); ++step) {
      for (int head = 0; head < params_.call.group; ++head) {
        // The next item is taken so early that nobody waits for it, and not earlier: its adders may
        // be waited for by blocks that take items after it.
        if (loads(work, step) - head == min(loads(work, work.step_begin), 2)) take();
        const auto is_first = [&] { return head == 0 && step == work.step_begin; };
        const int tile = Work::query_tile(step);
        load_queries(work, tile, head);
        if (!kKeysWait && is_first()) load_keys(params_.k, work);
        load_dout(work, tile, head);
        if (kKeysWait && is_first()) load_keys(params_.k, work);
        step_.advance();
      }
    }
  }

  __device__ void load_keys(const CUtensorMap& map, const Work& work) {
    const int stage = keys_.stage();
    wait(&shared_.keys_empty[stage], keys_.parity() ^ 1);
    const bool is_raw = work.has_foreign_keys(work.key_tile * Config::kBlockK, Config::kBlockK);
    Mbarrier* arrived = is_raw ? &shared_.keys_raw[stage] : &shared_.keys_full[stage];
    keys_.advance();
    if (lane() != 0) return;
    mbarrier_arrive_expecting(arrived, Config::kKeyBytes);
#pragma unroll
    for (int panel = 0; panel < Config::kPanels; ++panel) {
      load_box(shared_.keys[stage][panel], map, arrived, panel * Config::kColumns,
               work.first_key_row, work.key_head, work.batch);
    }
  }

  __device__ void load_queries(const Work& work, int tile, int head) {
    const int stage = step_.stage(), first = tile * Config::kBlockQ;
    wait(&shared_.q_empty[stage], step_.parity() ^ 1);
    Mbarrier* arrived = work.has_foreign_queries(first, Config::kBlockQ) ? &shared_.q_raw[stage]
                                                                         : &shared_.q_full[stage];
    if (lane() != 0) return;
    mbarrier_arrive_expecting(arrived, Config::kQueryBytes);
    load_rows(shared_.q[stage], params_.q, arrived, work, first, head);
  }

  __device__ void load_dout(const Work& work, int tile, int head) {
    const int stage = step_.stage(), first = tile * Config::kBlockQ;
    wait(&shared_.dout_empty[stage], step_.parity() ^ 1);
    Mbarrier* arrived = work.has_foreign_queries(first, Config::kBlockQ)
                            ? &shared_.dout_raw[stage]
                            : &shared_.dout_full[stage];
    if (lane() != 0) return;
    mbarrier_arrive_expecting(arrived, Config::kQueryBytes + Config::kStatisticsBytes);
    load_rows(shared_.dout[stage], params_.dout, arrived, work, first, head);
    const auto& call = params_.call;
    const int64_t head_row =
        static_cast<int64_t>(work.batch) * call.heads_q + work.key_head * call.group + head;
    const int64_t at = head_row * params_.query_tiles + (work.first_query_tile + tile);
    load_bulk(shared_.statistics[stage], params_.statistics + at * (2 * Config::kBlockQ),
              Config::kStatisticsBytes, arrived);
  }

  using Rows = T[Config::kPanels][Config::kBlockQ][Config::kColumns];
  __device__ void load_rows(Rows& to, const CUtensorMap& map, Mbarrier* arrived, const Work& work,
                            int first, int head) const {
    const int row = work.first_query_row + first, batch = work.batch;
    const int query_head = work.key_head * params_.call.group + head;
#pragma unroll
    for (int panel = 0; panel < Config::kPanels; ++panel) {
      load_box(to[panel], map, arrived, panel * Config::kColumns, row, query_head, batch);
    }
  }

  const Params& params_;
  Shared& shared_;
  int next_ = 0;  // item, of lane 0
  NarrowRingPosition<Config::kWorkStages> work_;
  NarrowRingPosition<Config::kKeyBuffers> keys_;
  NarrowRingPosition<Config::kStages> step_;  // of q, and of dout
};

// The warp that clears the rows of tiles which are padding or another sequence's, before the others
// learn that the tiles are there.
template <class Config>
class FlashBackwardSm90Cleaner {
 public:
  using T = typename Config::T;
  using Shared = typename Config::Shared;
  using Work = FlashBackwardSm90Work;

  __device__ FlashBackwardSm90Cleaner(Shared& shared, int group) : shared_(shared), group_(group) {}

  __device__ void run() {
    NarrowRingPosition<Config::kWorkStages> at;
    while (true) {
      mbarrier_wait(&shared_.work_full[at.stage()], at.parity());
      const Work& work = shared_.work[at.stage()];
      if (work.is_end()) return;
      clean_item(work);
      __syncwarp();
      if (lane() == 0) mbarrier_arrive(&shared_.work_empty[at.stage()]);
      at.advance();
    }
  }

 private:
  static __device__ int lane() { return thread_index() % kWarpSize; }

  __device__ void clean_item(const Work& work) {
    const int first_key = work.key_tile * Config::kBlockK;
    const bool has_foreign_keys = work.has_foreign_keys(first_key, Config::kBlockK);
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const int stage = keys_.stage();
      if (has_foreign_keys) {
        clean(shared_.keys[stage], shared_.keys_raw[stage], shared_.keys_full[stage],
              keys_raw_ >> stage & 1, work.band.row_begin - first_key,
              work.own_keys_end - first_key);
        keys_raw_ ^= 1u << stage;
      }
      keys_.advance();
    }
    for (int step = work.step_begin; step < work.step_end; ++step) {
      const int first = Work::query_tile(step) * Config::kBlockQ;
      for (int head = 0; head < group_; ++head) {
        const int stage = step_.stage();
        if (work.has_foreign_queries(first, Config::kBlockQ)) {
          const int begin = work.band.column_begin - first, end = work.own_queries_end - first;
          const uint32_t parity = queries_raw_ >> stage & 1;
          queries_raw_ ^= 1u << stage;
          clean(shared_.q[stage], shared_.q_raw[stage], shared_.q_full[stage], parity, begin, end);
          clean(shared_.dout[stage], shared_.dout_raw[stage], shared_.dout_full[stage], parity,
                begin, end);
        }
        step_.advance();
      }
    }
  }

  // Clears the rows outside [begin, end).
  template <int kRows>
  __device__ void clean(T (&tile)[Config::kPanels][kRows][Config::kColumns], Mbarrier& raw,
                        Mbarrier& full, uint32_t parity, int begin, int end) {
    mbarrier_wait(&raw, parity);
    constexpr int kRowLanes = 8;  // of 16 bytes each
#pragma unroll 1
    for (int row = lane() / kRowLanes; row < kRows; row += kWarpSize / kRowLanes) {
      if (row >= begin && row < end) continue;
#pragma unroll
      for (int panel = 0; panel < Config::kPanels; ++panel) {
        store_shared_16(shared_address(&tile[panel][row][lane() % kRowLanes * 8]), uint4{});
      }
    }
    fence_async_proxy();
    __syncwarp();
    if (lane() == 0) mbarrier_arrive(&full);
  }

  Shared& shared_;
  const int group_;
  NarrowRingPosition<Config::kKeyBuffers> keys_;
  NarrowRingPosition<Config::kStages> step_;  // of q, and of dout
  uint32_t keys_raw_ = 0, queries_raw_ = 0;   // a bit for each stage: the parity of "raw"
};

}  // namespace strobe
