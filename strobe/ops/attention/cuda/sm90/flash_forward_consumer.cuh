#pragma once

// A consumer warpgroup of attention_forward_flash_sm90 (flash_forward.cuh): the order of the steps
// [3] to [7], and what is waited for. flash_forward_rows.cuh has the steps themselves.

#include <cstddef>
#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/mbarrier.cuh"
#include "strobe/gpu/named_barrier.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/gpu/thread_index.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/gpu/wgmma.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_rows.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_shared.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_work.cuh"

namespace strobe {

// Consumers issue the products that all of them have in turns, so that one's exponentials lie under
// another's products.
template <class Config>
class FlashForwardSm90Turn {
  static constexpr int kFirst = 1;  // of the named barriers
  // Those that pass the turn on and those that get it.
  static constexpr int kThreads = 2 * Config::kWarpgroup;

 public:
  __device__ explicit FlashForwardSm90Turn(int consumer) {
    const int mine = kFirst + consumer;
    const int next = consumer == Config::kConsumers - 1 ? kFirst : mine + 1;
    // [perf] Exchanged with themselves, or the compiler would compute them anew for every turn.
    mine_ = __shfl_xor_sync(kFullWarp, mine, 0);
    next_ = __shfl_xor_sync(kFullWarp, next, 0);
    pass(consumer == Config::kConsumers - 1);
  }
  // `counts`: whether all consumers have the product that the turn is for.
  __device__ __forceinline__ void take(bool counts) const {
    if (counts) barrier_wait(mine_, kThreads);
  }
  __device__ __forceinline__ void pass(bool counts) const {
    if (counts) barrier_arrive(next_, kThreads);
  }
  // The first consumer takes the turn that is left; `warp` of the consumers'.
  static __device__ __forceinline__ void finish(int warp) {
    if (warp < 4) barrier_wait(kFirst, kThreads);
  }

 private:
  int mine_, next_;
};

// [7] The warp's rows of output, through its own shared memory.
template <class Config>
__device__ __forceinline__ void write_output(FlashForwardSm90Shared<Config>& shared,
                                             const typename Config::Params& params,
                                             const FlashForwardSm90Work& work,
                                             const FlashForwardSm90Rows<Config>& rows, int warp) {
  using T = typename Config::T;
  constexpr int kColumns = Config::kColumns, kWarpRows = Config::kWarpRows;
  const int lane = static_cast<unsigned>(forward_sm90_thread<Config>()) % kWarpSize;
  const int first = warp * kWarpRows;
  const int mine = min(work.rows - first, kWarpRows);
  if (mine <= 0) return;
  const int row = work.first_row + first;
  // The tensor's map clips what lies behind its end, but not at the end of a packed sequence.
  const bool is_copied = mine == kWarpRows || !params.call.is_packed();
#pragma unroll
  for (int i = 0; i < Config::kPanels; ++i) {
    T* panel = &shared.out[warp][i % Config::kOutPanels][0][0];
    if (lane == 0) wait_until_read<Config::kOutPanels - 1>();
    __syncwarp();
    rows.put_panel(panel, i);
    if (is_copied) {
      fence_async_proxy();
      __syncwarp();
      if (lane == 0) store_box(params.out, panel, i * kColumns, row, work.head, work.batch);
    } else {
      __syncwarp();
#pragma unroll 1
      for (int at = lane; at < mine * 8; at += kWarpSize) {
        const int column = i * kColumns + at % 8 * 8;
        if (column >= params.call.head_dim) continue;
        T* to = params.call.out.row(work.batch, row + at / 8, work.head) + column;
        *reinterpret_cast<uint4*>(to) = load_shared_16(
            shared_address(panel) + at / 8 * (kColumns * 2) + ((at % 8) ^ (at / 8 % 8)) * 16);
      }
    }
    if (lane == 0) commit_stores();  // an empty group, too: the wait above counts them
  }
}

// [3] to [7] For a thread of a consumer warpgroup.
template <class Config>
class FlashForwardSm90Consumer {
  using T = typename Config::T;
  using Shared = FlashForwardSm90Shared<Config>;
  using Params = FlashForwardSm90Params<T>;
  using Rows = FlashForwardSm90Rows<Config>;
  static constexpr int kBlockK = Config::kBlockK;
  static constexpr bool kTrims = Config::kTrims;

 public:
  // `warp` of the consumers'.
  __device__ FlashForwardSm90Consumer(Shared& shared, const Params& params, int warp)
      : shared_(shared),
        params_(params),
        warp_(warp),
        consumer_(warp / 4),
        rows_(warp * Config::kWarpRows),
        first_queries_(swizzled_operand(shared.q[0][0][consumer_ * 64])),
        first_keys_(swizzled_operand(shared.k[0])),
        turn_(consumer_) {}

  __device__ __forceinline__ void run() {
    for (;; works_.advance()) {
      mbarrier_wait(&shared_.work_full[works_.stage()], works_.parity());
      const Work& work = shared_.work[works_.stage()];
      if (work.is_end()) break;
      leave_out(work.seen[consumer_].begin - work.tile_begin);
      if (work.seen[consumer_].any()) {
        multiply_tiles(work, work.seen[consumer_]);
        finish_sums(work);
        wgmma_wait<0>();
        rows_.pin_output();
        release(&shared_.v_empty[values_.stage()]);
        values_.advance();
        leave_out(work.tile_end - work.seen[consumer_].end);
        write_output(shared_, params_, work, rows_, warp());
      } else {
        mbarrier_wait(&shared_.q_full[queries_.stage()], queries_.parity());
        release_queries();
      }
      release(&shared_.work_empty[works_.stage()]);
    }
    turn_.finish(warp());
    if (threadIdx.x % kWarpSize == 0) wait_until_read<0>();
  }

 private:
  using Work = FlashForwardSm90Work;
  using Stages = RingPosition<Config::kStages>;

  // Tiles of keys that only others see. It waits for them, too, and for queries where it has no
  // rows: a stage counts its readers, and one who left before the tile came would count among those
  // of the tile before; and who has not seen a phase end may take the one before for the next.
  __device__ __forceinline__ void leave_out(int tiles) {
#pragma unroll 1
    for (; tiles > 0; --tiles) {
      mbarrier_wait(&shared_.k_full[keys_.stage()], keys_.parity());
      release(&shared_.k_empty[keys_.stage()]);
      keys_.advance();
      mbarrier_wait(&shared_.v_full[values_.stage()], values_.parity());
      release(&shared_.v_empty[values_.stage()]);
      values_.advance();
    }
  }

  __device__ __forceinline__ void release_queries() {
    release(&shared_.q_empty[queries_.stage()]);
    queries_.advance();
  }

  // [perf] Of lane 0, so the compiler knows that it is the same in the whole warp.
  __device__ __forceinline__ int warp() const {
    if constexpr (!Config::kRecomputesIndices) return warp_;
    return __shfl_sync(kFullWarp, (thread_index() - Config::kWarpgroup) / kWarpSize, 0);
  }

  __device__ __forceinline__ FlashForwardSm90Dropout dropout_of(const Work& work) const {
    const PhiloxKey key = Config::kHasDropout ? params_.call.dropout.current_key() : PhiloxKey{};
    return {params_.call.dropout, key, work.dropout_head, work.dropout_row_block + warp()};
  }

  // [3] to [6] Of the tiles of keys that the warpgroup sees; leaves the last product under way.
  __device__ __forceinline__ void multiply_tiles(const Work& work, const SeenKeys& tiles) {
    // [perf] What memory holds would be read again behind every barrier.
    const int begin = tiles.begin, last = tiles.end - 1;
    // With another sign of scale, none goes without a look at its scores.
    const int full_begin = params_.score_sign > 0 ? tiles.full_begin : last + 1;
    const int full_end = tiles.full_end;
    const int turns_begin = work.turns_begin, turns_end = work.turns_end;
    const auto is_full = [&](int tile) { return tile >= full_begin && tile < full_end; };
    const auto has_turn = [&](int tile) { return tile >= turns_begin && tile < turns_end; };
    // [perf] So the compiler knows that it is the same in the whole warp.
    const bool is_part = kTrims && __all_sync(kFullWarp, tiles.ends_early) != 0;
    const FlashForwardSm90Dropout dropout = dropout_of(work);
    first_tile(work, dropout, begin, is_full(begin), has_turn(begin));
    const int whole_end = is_part ? last : last + 1;
    for (int tile = begin + 1; tile < whole_end; ++tile) {
      next_tile(scores_, work, dropout, tile, is_full(tile), has_turn(tile), tile > begin + 1);
    }
    if constexpr (kTrims) {
      if (is_part && last > begin) {
        typename Rows::PartScores part;
        next_tile(part, work, dropout, last, false, has_turn(last), last > begin + 1);
      }
    }
    release_queries();
    mbarrier_wait(&shared_.v_full[values_.stage()], values_.parity());
    if (kTrims && is_part) {
      rows_.template issue_output<kTrims>(values(), last > begin);
    } else {
      rows_.template issue_output<false>(values(), last > begin);
    }
  }

  __device__ __forceinline__ void first_tile(const Work& work,
                                             const FlashForwardSm90Dropout& dropout, int tile,
                                             bool is_full, bool has_turn) {
    mbarrier_wait(&shared_.q_full[queries_.stage()], queries_.parity());
    mbarrier_wait(&shared_.k_full[keys_.stage()], keys_.parity());
    turn_.take(has_turn);
    rows_.issue_scores(scores_, queries(), keys());
    turn_.pass(has_turn);
    wgmma_wait<0>();
    take_scores(scores_, work, tile, is_full);
    rows_.begin_probs(scores_, params_.exponent_scale, dropout, tile);
  }

  // S of a tile or of its first part, beside O of that before.
  template <int kCount>
  __device__ __forceinline__ void next_tile(float (&scores)[kCount], const Work& work,
                                            const FlashForwardSm90Dropout& dropout, int tile,
                                            bool is_full, bool has_turn, bool has_output) {
    const Stages next_values = keys_;
    mbarrier_wait(&shared_.k_full[keys_.stage()], keys_.parity());
    turn_.take(has_turn);
    rows_.issue_scores(scores, queries(), keys());
    mbarrier_wait(&shared_.v_full[values_.stage()], values_.parity());
    rows_.template issue_output<false>(values(), has_output);
    turn_.pass(has_turn);
    wgmma_wait<1>();
    take_scores(scores, work, tile, is_full);
    wgmma_wait<0>();
    pin_registers(scores);
    rows_.pin_output();
    release(&shared_.v_empty[values_.stage()]);
    values_ = next_values;
    rows_.make_probs(scores, params_.exponent_scale, dropout, tile);
  }

  // [4] `is_full`: all rows see all keys of the tile, and scale is positive.
  template <int kCount>
  __device__ __forceinline__ void take_scores(float (&scores)[kCount], const Work& work, int tile,
                                              bool is_full) {
    pin_registers(scores);
    release(&shared_.k_empty[keys_.stage()]);
    keys_.advance();
    if (is_full) return;
    if (params_.score_sign <= 0) rows_.apply_sign(scores, params_.score_sign);
    rows_.mask(scores, work.limits, tile * kBlockK);
  }

  __device__ __forceinline__ void finish_sums(const FlashForwardSm90Work& work) {
    rows_.finish_sums(Config::kHasDropout ? params_.call.dropout.keep_scale() : 1.0f,
                      params_.call.lse + work.lse_row, work.rows);
  }

  // Operands. [perf] Of the first stage, and steps from there: otherwise most of the instructions
  // between two turns would be about their descriptions. Those are sums of their parts.
  __device__ __forceinline__ uint64_t queries() const {
    uint64_t queries = first_queries_ + stage_step<sizeof(Shared::q[0])>(queries_.stage());
    // [perf] Or the compiler would keep those of all the steps, in local memory.
    if constexpr (Config::kHeadDim > 128 && Config::kHasDropout) pin_registers(queries);
    return queries;
  }
  __device__ __forceinline__ uint64_t keys() const {
    return first_keys_ + stage_step<sizeof(Shared::k[0])>(keys_.stage());
  }
  __device__ __forceinline__ uint64_t values() const {
    constexpr uint64_t kFromKeys = operand_step(offsetof(Shared, v) - offsetof(Shared, k)) +
                                   operand_panels(sizeof(Shared::v[0][0])) - operand_panels(16);
    return first_keys_ + kFromKeys + stage_step<sizeof(Shared::v[0])>(values_.stage());
  }
  template <uint32_t kBytes>
  static __device__ __forceinline__ uint32_t stage_step(int stage) {
    return static_cast<uint32_t>(stage) * static_cast<uint32_t>(operand_step(kBytes));
  }

  Shared& shared_;
  const Params& params_;
  int warp_, consumer_;
  Rows rows_;
  uint64_t first_queries_, first_keys_;
  typename Rows::Scores scores_;
  FlashForwardSm90Turn<Config> turn_;
  RingPosition<Config::kWorkStages> works_;
  RingPosition<Config::kQueryStages> queries_;
  Stages keys_, values_;
};

}  // namespace strobe
