#pragma once

// Steps [3] to [7] and [9] of attention_backward_flash_sm90 (flash_backward.cuh).

#include <cstdint>

#include "strobe/gpu/math.cuh"
#include "strobe/gpu/named_barrier.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/stmatrix.cuh"
#include "strobe/gpu/thread_index.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/gpu/wgmma.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_dropout.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_config.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_rows.cuh"

namespace strobe {

// A consumer warpgroup as one of its threads sees it: of the 64 keys that are rows of its
// accumulators, the thread has row 16·warp + lane / 4 and the one 8 below, of each 8 queries the
// columns 2·(lane % 4) and the next.
template <class Config>
class FlashBackwardSm90Consumer {
 public:
  using T = typename Config::T;
  using Params = typename Config::Params;
  using Shared = typename Config::Shared;
  using Work = FlashBackwardSm90Work;

  __device__ FlashBackwardSm90Consumer(const Params& params, Shared& shared, int part)
      : params_(params), shared_(shared), part_(part) {
    keys_.advance();  // behind the values
    first_query_ = lane() % 4 * 2;
    const int chunk = warp() * (kWarpKeys / 8) + lane() / 8 % 2;
    dscores_at_ = (lane() / 16 * 8 + lane() % 8) * Config::kColumns + (chunk ^ lane() % 8) * 8;
    fragment_ = warp() * Config::kWarpFloats + lane() * 4;
  }

  __device__ __forceinline__ void run() {
    if (!wait_for_work()) return;
    wait_for_item();
    if (part_ == 1) pass_turn();
    wait_for_turn();
    issue_scores(keys_stage(), 0);
    finish_scores();
    for (bool is_first = true;;) {
      // P and dP of the step are there. No product is under way here, nor may one be: ptxas does
      // not follow them round a loop.
      const bool is_last = steps_left_ == 1;
      if (is_last) release(&shared_.keys_empty[values().stage()]);
      make_operands();  // [5]
      share_dscores();
      issue_dv(!is_first);  // [6]
      issue_dk(!is_first);
      const uint32_t step = step_++;
      wait_for_dscores(step);
      float query_sums[Config::kPartQueries / 2];
      issue_query_sums(query_sums, Config::kSplitsQueries ? 0 : part_);  // [7]
      wgmma_wait<1>();                                                   // dV, dK
      pin_operands(probs16_);
      pin_operands(dscores16_);
      release(&shared_.dout_empty[stage(step)], &shared_.q_empty[stage(step)]);

      // What comes next, so that the tensor cores have work while this step ends.
      if (is_last) {
        if constexpr (kHoldsOneItem) end_item();
        next_item();
      } else {
        next_tile();
      }
      wait_for_turn();
      // [perf] Not in a branch, where ptxas would have products wait; after the last step of all,
      // of no use.
      issue_scores(keys_stage(), stage(step_));  // [3]
      wgmma_wait<1>();                           // dS K
      pin_registers(query_sums);
      release(&shared_.dscores_empty);
      if (!kHoldsOneItem && is_last) {
        release(&shared_.keys_empty[keys_.before().before().stage()]);
      }
      give_query_sums(query_sums, step);
      finish_scores();
      is_first = is_last;
      if (!is_last) continue;
      if constexpr (!kHoldsOneItem) write_sums(work_.before().stage());
      if (work().is_end()) break;
    }
    if (part_ == 0) wait_for_turn();  // the other one's last
  }

 protected:
  using Operands = uint32_t[Config::kBlockQ / 16][4];  // left ones, of 16 queries each
  static __device__ __forceinline__ void pin_operands(Operands& operands) {
#pragma unroll
    for (int i = 0; i < kBlockQ / 16; ++i) pin_registers(operands[i]);
  }

  static constexpr int kBlockQ = Config::kBlockQ, kHeadDim = Config::kHeadDim;
  static constexpr int kWarpKeys = 16, kPartKeys = 64;
  static constexpr int kTurns = 1;  // the named barriers from here on, one a warpgroup

  // Of the warpgroup's keys, in the tile.
  __device__ __forceinline__ int first_key() const {
    return Config::kHasRoles ? 0 : part_ * kPartKeys;
  }

  static __device__ int lane() { return thread_index() % kWarpSize; }
  static __device__ int thread() { return thread_index() % Config::kWarpgroup; }
  static __device__ int warp() { return thread() / kWarpSize; }

  // Of every warp one lane: a warpgroup's warps pass their waits one by one.
  static __device__ __forceinline__ void release(Mbarrier* empty) {
    __syncwarp();
    if (lane() == 0) mbarrier_arrive(empty);
  }

  static __device__ __forceinline__ void release(Mbarrier* empty, Mbarrier* other) {
    __syncwarp();
    if (lane() == 0) {
      mbarrier_arrive(empty);
      mbarrier_arrive(other);
    }
  }

  // [perf] The warpgroups issue S and dP one after the other. Otherwise dS, which both need, has
  // them do the same at the same time: exponentials while the tensor cores stand still, and then
  // products.
  __device__ __forceinline__ void wait_for_turn() {
    barrier_wait(kTurns + part_, Config::kConsumers * Config::kWarpgroup);
  }
  __device__ __forceinline__ void pass_turn() {
    barrier_arrive(kTurns + 1 - part_, Config::kConsumers * Config::kWarpgroup);
  }

  using Keys = NarrowRingPosition<Config::kKeyBuffers>;
  using Items = NarrowRingPosition<Config::kWorkStages>;
  __device__ __forceinline__ const Work& work() const { return shared_.work[work_.stage()]; }
  // An item's values lie in front of its keys.
  __device__ __forceinline__ Keys values() const { return keys_.before(); }
  // [perf] With room for one item, what descriptors are made of is known when this is compiled.
  static constexpr bool kHoldsOneItem = Config::kKeyBuffers == 2;
  __device__ __forceinline__ int keys_stage() const { return kHoldsOneItem ? 1 : keys_.stage(); }
  __device__ __forceinline__ int values_stage() const {
    return kHoldsOneItem ? 0 : values().stage();
  }

  // False: there is no more.
  __device__ __forceinline__ bool wait_for_work() {
    mbarrier_wait(&shared_.work_full[work_.stage()], work_.parity());
    return !work().is_end();
  }
  __device__ __forceinline__ void wait_for_keys(const Keys& at) {
    mbarrier_wait(&shared_.keys_full[at.stage()], at.parity());
  }
  __device__ __forceinline__ void wait_for_queries(uint32_t step) {
    mbarrier_wait(&shared_.q_full[stage(step)], parity(step));
  }
  __device__ __forceinline__ void wait_for_step() {
    wait_for_queries(step_);
    mbarrier_wait(&shared_.dout_full[stage(step_)], parity(step_));
  }
  // The item at work_, and all of its first step.
  __device__ __forceinline__ void wait_for_item() {
    wait_for_keys(keys_);
    wait_for_keys(values());
    wait_for_step();
    item_step_ = work().step_begin;
    head_ = 0;
    steps_left_ = (work().step_end - item_step_) * params_.call.group;
  }
  static __device__ __forceinline__ uint32_t stage(uint32_t step) { return step % Config::kStages; }
  static __device__ __forceinline__ uint32_t parity(uint32_t step) {
    return step / Config::kStages % 2;
  }

  __device__ __forceinline__ void next_tile() {
    --steps_left_;
    if (++head_ == params_.call.group) {
      head_ = 0;
      ++item_step_;
    }
    wait_for_step();
  }
  __device__ __forceinline__ void next_item() {
    work_.advance();
    keys_.advance();
    keys_.advance();
    if (wait_for_work()) wait_for_item();
  }

  // [perf] The next item's keys take the place of this one's: what can be done without them is done
  // while they come.
  __device__ __forceinline__ void end_item() {
    wgmma_wait<0>();  // dS K
    release(&shared_.keys_empty[keys_stage()]);
    write_sums(work_.stage());  // [9]
  }

  // [3] S = K Qᵀ
  __device__ __forceinline__ void issue_scores(int keys_stage, int q_stage) {
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const int panel = step / 4;
      wgmma_m64k16<T>(
          scores_,
          swizzled_operand(shared_.keys[keys_stage][panel][first_key()]) + step % 4 * kStepAlongRow,
          swizzled_operand(shared_.q[q_stage][panel]) + step % 4 * kStepAlongRow, step > 0);
    }
    wgmma_commit();
  }

  // [3] and [4]: S of the step is under way, P and dP come of it.
  __device__ __forceinline__ void finish_scores() {
    issue_dprobs(stage(step_));
    pass_turn();
    // Before the wait, which is long enough for it.
    const SeenQueries seen = seen_queries();
    const Survivors survivors = draw();
    // [perf] Ends what ptxas schedules at a time: otherwise it moves the wait in front of the draw.
    if constexpr (Config::kHasDropout) __syncwarp();
    wgmma_wait<1>();
    pin_registers(scores_);
    make_probs(seen, survivors);
    wgmma_wait<0>();
    pin_registers(dprobs_);
  }

  // dP = V dOᵀ
  __device__ __forceinline__ void issue_dprobs(int dout_stage) {
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const int panel = step / 4;
      wgmma_m64k16<T>(dprobs_,
                      swizzled_operand(shared_.keys[values_stage()][panel][first_key()]) +
                          step % 4 * kStepAlongRow,
                      swizzled_operand(shared_.dout[dout_stage][panel]) + step % 4 * kStepAlongRow,
                      step > 0);
    }
    wgmma_commit();
  }

  // [6] dV += (Z∘P)ᵀ dO
  __device__ __forceinline__ void issue_dv(bool accumulate) {
    const uint64_t dout =
        swizzled_operand(shared_.dout[stage(step_)], kBlockQ * Config::kColumns * sizeof(T));
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kBlockQ / 16; ++step) {
      wgmma_m64k16<T, Major::mn>(dv_, probs16_[step], dout + step * kStepDownRows,
                                 accumulate || step > 0);
    }
    wgmma_commit();
  }

  // dK += dSᵀ Q
  __device__ __forceinline__ void issue_dk(bool accumulate) {
    const uint64_t q =
        swizzled_operand(shared_.q[stage(step_)], kBlockQ * Config::kColumns * sizeof(T));
#pragma unroll
    for (int step = 0; step < kBlockQ / 16; ++step) {
      wgmma_m64k16<T, Major::mn>(dk_, dscores16_[step], q + step * kStepDownRows,
                                 accumulate || step > 0);
    }
    wgmma_commit();
  }

  // [7] (dS K)ᵀ of the warpgroup's queries, a panel of columns.
  __device__ __forceinline__ void issue_query_sums(float (&sums)[Config::kPartQueries / 2],
                                                   int panel) {
    const int first_query = Config::kSplitsQueries ? part_ * Config::kPartQueries : 0;
    const uint64_t keys = swizzled_operand(shared_.keys[keys_stage()][panel]);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Config::kBlockK / 16; ++step) {
      wgmma_m64k16<T, Major::mn, Major::k>(
          sums, keys + step * kStepDownRows,
          swizzled_operand(shared_.dscores[step / 4][first_query]) + step % 4 * kStepAlongRow,
          step > 0);
    }
    wgmma_commit();
  }

  // L·log2e (0) or Δ (1) of the step's queries, from the thread's first one on.
  __device__ __forceinline__ const float* statistics(int which) const {
    // [perf] With dropout, registers are scarcer than instructions.
    const int first_query = Config::kHasDropout ? lane() % 4 * 2 : first_query_;
    return &shared_.statistics[stage(step_)][which][first_query];
  }

  // The queries that all of the warpgroup's keys see.
  struct SeenQueries {
    int begin, end;
  };
  __device__ __forceinline__ SeenQueries seen_queries() const {
    const int part = first_key() / kPartKeys;
    return {work().seen_begin[part], work().seen_end[part]};
  }

  // What survives of the step's scores, of 32 queries at a time.
  struct Survivors {
    DropoutPair pairs[kBlockQ / 32];
  };
  __device__ __forceinline__ Survivors draw() const {
    Survivors survivors = {};
    if constexpr (Config::kHasDropout) {
      static_assert(kBlockQ % 32 == 0);
      const DropoutColumns<true> dropout(params_.call.dropout);
      const uint32_t head = work().dropout_head + work().key_head * params_.call.group + head_;
      const uint32_t key_block = (work().key_tile * Config::kBlockK + first_key()) / 16 + warp();
      uint32_t query_block = Work::query_tile(item_step_) * (kBlockQ / 16);
#pragma unroll
      for (int pair = 0; pair < kBlockQ / 32; ++pair) {
        survivors.pairs[pair] = dropout.pair(head, key_block, query_block + 2 * pair);
        // [perf] One pair after the other: side by side they take more registers than there are.
        pin_registers(query_block);
      }
    }
    return survivors;
  }

  // [4] P = exp(S − L), in f32; [5] negative where dropout lets it fall.
  __device__ __forceinline__ void make_probs(const SeenQueries& seen, const Survivors& survivors) {
    const float* lse = statistics(0);
#pragma unroll
    for (int j = 0; j < kBlockQ / 8; ++j) {
      const float2 both = *reinterpret_cast<const float2*>(lse + 8 * j);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& score = scores_[4 * j + e];
        score = fmaf(score, params_.scale_log2, -(e % 2 == 0 ? both.x : both.y));
      }
    }
#pragma unroll
    for (int i = 0; i < kBlockQ / 2; ++i) scores_[i] = exp2_approximately(scores_[i]);
    if constexpr (Config::kHasDropout) drop(survivors);
    // [perf] Masked only now, because a branch ends what ptxas schedules at a time: otherwise it
    // moves the wait for dP in front of the exponentials.
    const int first = Work::query_tile(item_step_) * kBlockQ;
    if (first < seen.begin || first + kBlockQ > seen.end) hide(work(), first);
  }

  __device__ __forceinline__ void drop(const Survivors& survivors) {
#pragma unroll
    for (int i = 0; i < kBlockQ / 2; ++i) {
      const uint32_t mask =
          DropoutColumns<true>::survivor_mask(survivors.pairs[i / 16], i / 8 % 2, i / 4 % 2, i % 4);
      scores_[i] = mask != 0 ? scores_[i] : -scores_[i];
    }
  }

  __device__ __forceinline__ void hide(const Work& work, int first) {
    const Band& band = work.band;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int key = work.key_tile * Config::kBlockK + first_key() + warp() * kWarpKeys +
                      lane() / 4 + 8 * half;
      const int column = first + lane() % 4 * 2;
      const bool is_inside = key >= band.row_begin && key < band.row_end;
      const int begin = key + band.lower - column;
      const int end = is_inside ? key + band.upper - column : -Band::kFar;
#pragma unroll
      for (int i = 0; i < kBlockQ / 4; ++i) {
        float& score = scores_[i / 2 * 4 + 2 * half + i % 2];
        const int at = i / 2 * 8 + i % 2;
        if (at < begin || at >= end) score = 0;
      }
    }
  }

  // [5] Z∘P without dropout's factor, and dS = P∘(Z∘dP − Δ) times its keep rate. Where dropout lets
  // it fall, P is negative, and dS −|P|·Δ.
  static __device__ __forceinline__ float surviving(float prob) {
    return Config::kHasDropout ? fmaxf(prob, 0) : prob;
  }
  static __device__ __forceinline__ float dscore_of(float prob, float dprob, float keep_delta) {
    return Config::kHasDropout ? fabsf(prob) * ((prob > 0 ? dprob : 0) - keep_delta)
                               : prob * (dprob - keep_delta);
  }

  // Both rounded, as left operands.
  __device__ __forceinline__ void make_operands() {
    const float* delta = statistics(1);
#pragma unroll
    for (int j = 0; j < kBlockQ / 8; ++j) {
      const float2 both = *reinterpret_cast<const float2*>(delta + 8 * j);
      float prob[4], dscore[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float score = scores_[4 * j + e], dprob = dprobs_[4 * j + e];
        const float keep_delta = e % 2 == 0 ? both.x : both.y;
        prob[e] = surviving(score);
        dscore[e] = dscore_of(score, dprob, keep_delta);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = j % 2 * 2 + half;
        probs16_[j / 2][i] = pack<T>(prob[2 * half], prob[2 * half + 1]);
        dscores16_[j / 2][i] = pack<T>(dscore[2 * half], dscore[2 * half + 1]);
      }
    }
  }

  // dS for both warpgroups.
  __device__ __forceinline__ void share_dscores() {
    mbarrier_wait(&shared_.dscores_empty, step_ % 2 ^ 1);
    const T* to = &shared_.dscores[first_key() / Config::kColumns][0][dscores_at_];
#pragma unroll
    for (int step = 0; step < kBlockQ / 16; ++step) {
      stmatrix_x4_transposed(shared_address(to + step * (16 * Config::kColumns)), dscores16_[step]);
    }
    release(&shared_.dscores_full);
  }
  // [perf] Who reads shows itself what was written, the writer does not wait until all can see it.
  __device__ __forceinline__ void wait_for_dscores(uint32_t step) {
    mbarrier_wait(&shared_.dscores_full, step % 2);
    fence_async_proxy();
  }

  // The warpgroup's part, in the order of fragments, for the adder.
  __device__ __forceinline__ void give_query_sums(const float (&sums)[Config::kPartQueries / 2],
                                                  uint32_t step) {
    mbarrier_wait(&shared_.handed_on.sums_empty[part_], step % 2 ^ 1);
    const uint32_t to = shared_address(shared_.handed_on.query_sums[part_] + fragment_);
#pragma unroll
    for (int j = 0; j < Config::kPartQueries / 8; ++j) {
      store_shared_16(to + j * (kWarpSize * 16),
                      {__float_as_uint(sums[4 * j]), __float_as_uint(sums[4 * j + 1]),
                       __float_as_uint(sums[4 * j + 2]), __float_as_uint(sums[4 * j + 3])});
    }
    release(&shared_.handed_on.sums_full[part_]);
  }

  // [9] dk and dv of the item's keys; nothing else is to be known of the item.
  __device__ __forceinline__ void write_sums(int item) {
    const Work& work = shared_.work[item];
    pin_registers(dk_);
    pin_registers(dv_);
    write(work, params_.call.dk, dk_, params_.call.scale * keep_scale());
    write(work, params_.call.dv, dv_, keep_scale());
    release(&shared_.work_empty[item]);
  }

  __device__ __forceinline__ float keep_scale() const {
    return Config::kHasDropout ? params_.call.dropout.keep_scale() : 1.0f;
  }
  __device__ __forceinline__ void write(const Work& work, const BthdView<T>& view,
                                        const float (&sums)[kHeadDim / 2], float factor) const {
    const int first_row = first_key() + warp() * kWarpKeys;
    const OutputRows<T> rows = {
        .first = view.row(work.batch, work.first_key_row + first_row, work.key_head),
        .stride = view.time_stride,
        .rows = work.key_rows - first_row,
        .columns = params_.call.head_dim};
#pragma unroll
    for (int column = 0; column < kHeadDim; column += 32) {
      const auto pair = [&](int j, int half) {
        const float* both = sums + column / 2 + 4 * j + 2 * half;
        return float2{both[0], both[1]};
      };
      rows.store(pair, column, factor);
    }
  }

  const Params& params_;
  Shared& shared_;
  const int part_;  // of the tile's keys
  Items work_;
  Keys keys_;
  uint32_t step_ = 0;  // of all items
  int item_step_ = 0, head_ = 0, steps_left_ = 0;
  // [perf] The thread's place in 8 queries, in dS and in (dS K)ᵀ, kept: made of threadIdx.x at each
  // step, it is waited for.
  int first_query_, dscores_at_, fragment_;

  float scores_[kBlockQ / 2], dprobs_[kBlockQ / 2];  // S and then P; dP
  Operands probs16_, dscores16_;
  float dk_[kHeadDim / 2], dv_[kHeadDim / 2];
};

}  // namespace strobe
