#pragma once

// Steps [3] to [9] of attention_backward_flash_sm90 (flash_backward.cuh) above 128 columns.

#include <cstdint>

#include "strobe/gpu/atomic.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_consumer.cuh"

namespace strobe {

// The consumer warpgroups where each has a role. Both have the same 64 keys as rows:
//   values   makes S = K Qᵀ, and P, which it hands on in f32, and dV
//   keys     makes dP = V dOᵀ, of P and dP dS, which it hands on as left operand, and dK
// and each makes half of the columns of dS K, which it adds to the sums in global memory.
template <class Config>
class FlashBackwardSm90RoleConsumer : FlashBackwardSm90Consumer<Config> {
 public:
  using Base = FlashBackwardSm90Consumer<Config>;
  using Params = typename Config::Params;
  using Shared = typename Config::Shared;
  using Base::Base;

  __device__ __forceinline__ void run() {
    if (part_ == 0) {
      run_values();
    } else {
      run_keys();
    }
  }

 private:
  static constexpr int kBlockQ = Config::kBlockQ, kPieces = Config::kPartPanels;
  static_assert(kPieces == 2);
  static constexpr int kFragmentFloats = 4 * Config::kWarpgroup;  // 64 rows, 8 columns

  __device__ __forceinline__ void run_values() {
    while (this->wait_for_work()) {
      release(&shared_.keys_empty[this->values_stage()]);  // needed by the other one only
      item_step_ = work().step_begin;
      head_ = 0;
      this->wait_for_keys(keys_);
      this->wait_for_queries(step_);
      this->issue_scores(this->keys_stage(), stage(step_));
      wgmma_wait<0>();
      pin_registers(scores_);
      release(&shared_.q_empty[stage(step_)]);
      bool accumulate = false;
      for (int left = steps(); left > 1; --left) {
        values_step<false>(accumulate);
        accumulate = true;
      }
      values_step<true>(accumulate);
      pin_registers(dv_);
      this->write(work(), params_.call.dv, dv_, this->keep_scale());
      next_item();
    }
  }

  // S of the step is there; of the next one, too, when this one is over. No product is under way
  // between steps, nor may one be: ptxas does not follow them round a loop.
  template <bool kIsLast>
  __device__ __forceinline__ void values_step(bool accumulate) {
    mbarrier_wait(&shared_.dout_full[stage(step_)], parity(step_));
    this->make_probs(this->seen_queries(), this->draw());  // [4]
    share_probs();
    this->issue_dv(accumulate);  // [6]
    const auto finish = [&] {
      this->pin_operands(probs16_);
      release(&shared_.dout_empty[stage(step_)]);
    };
    const auto next = [&] {
      this->wait_for_queries(step_ + 1);
      this->issue_scores(this->keys_stage(), stage(step_ + 1));  // [3]
    };
    end_step<kIsLast>(finish, next);
    if constexpr (!kIsLast) {
      pin_registers(scores_);
      release(&shared_.q_empty[stage(step_ + 1)]);
    }
    next_step();
  }

  __device__ __forceinline__ void run_keys() {
    while (this->wait_for_work()) {
      item_step_ = work().step_begin;
      head_ = 0;
      this->wait_for_keys(values());
      mbarrier_wait(&shared_.dout_full[stage(step_)], parity(step_));
      this->issue_dprobs(stage(step_));
      wgmma_wait<0>();
      pin_registers(dprobs_);
      this->wait_for_keys(keys_);
      bool accumulate = false;
      for (int left = steps(); left > 1; --left) {
        keys_step<false>(accumulate);
        accumulate = true;
      }
      keys_step<true>(accumulate);
      pin_registers(dk_);
      this->write(work(), params_.call.dk, dk_, params_.call.scale * this->keep_scale());
      next_item();
    }
  }

  // dP of the step is there; of the next one, too, when this one is over.
  template <bool kIsLast>
  __device__ __forceinline__ void keys_step(bool accumulate) {
    if constexpr (kIsLast) release(&shared_.keys_empty[this->values_stage()]);
    take_dscores();  // [5]
    release(&shared_.dout_empty[stage(step_)]);
    this->share_dscores();
    this->wait_for_queries(step_);
    wgmma_fence();
    this->issue_dk(accumulate);  // [6]
    const auto finish = [&] {
      this->pin_operands(dscores16_);
      release(&shared_.q_empty[stage(step_)]);
    };
    const auto next = [&] {
      mbarrier_wait(&shared_.dout_full[stage(step_ + 1)], parity(step_ + 1));
      this->issue_dprobs(stage(step_ + 1));  // [3]
    };
    end_step<kIsLast>(finish, next);
    if constexpr (!kIsLast) pin_registers(dprobs_);
    next_step();
  }

  // P for the other one, in the order of fragments and with dropout's signs; Z∘P as left operands.
  // The P before this one has been read: there was dS of it.
  __device__ __forceinline__ void share_probs() {
    float* to = shared_.handed_on.probs + 4 * this->thread();
#pragma unroll
    for (int j = 0; j < kBlockQ / 8; ++j) {
      const float* prob = scores_ + 4 * j;
      *reinterpret_cast<float4*>(to + j * kFragmentFloats) =
          float4{prob[0], prob[1], prob[2], prob[3]};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        probs16_[j / 2][j % 2 * 2 + half] = pack<typename Config::T>(
            Base::surviving(prob[2 * half]), Base::surviving(prob[2 * half + 1]));
      }
    }
    release(&shared_.handed_on.probs_full);
  }

  // dS of the other one's P, as left operands.
  __device__ __forceinline__ void take_dscores() {
    const float* delta = shared_.statistics[stage(step_)][1] + this->lane() % 4 * 2;
    const float* from = shared_.handed_on.probs + 4 * this->thread();
    mbarrier_wait(&shared_.handed_on.probs_full, step_ % 2);
#pragma unroll
    for (int j = 0; j < kBlockQ / 8; ++j) {
      const float2 both = *reinterpret_cast<const float2*>(delta + 8 * j);
      const float4 four = *reinterpret_cast<const float4*>(from + j * kFragmentFloats);
      const float prob[4] = {four.x, four.y, four.z, four.w};
      float dscore[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        dscore[e] = Base::dscore_of(prob[e], dprobs_[4 * j + e], e % 2 == 0 ? both.x : both.y);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        dscores16_[j / 2][j % 2 * 2 + half] =
            pack<typename Config::T>(dscore[2 * half], dscore[2 * half + 1]);
      }
    }
  }

  // [7] and [8], while the step's dV or dK is under way: `finish` is called when that is done, and
  // `next` issues the next step's first product.
  // [perf] The warpgroup's columns of dS K are two pieces, and never is one of them there when two
  // other products are under way: ptxas has no registers for that, and would have all of them wait.
  template <bool kIsLast, class Finish, class Next>
  __device__ __forceinline__ void end_step(const Finish& finish, const Next& next) {
    float first[kBlockQ / 2], second[kBlockQ / 2];
    this->wait_for_dscores(step_);
    this->issue_query_sums(first, part_ * kPieces);
    wgmma_wait<1>();
    finish();
    this->issue_query_sums(second, part_ * kPieces + 1);
    wgmma_wait<1>();
    pin_registers(first);
    add(first, 0);
    if constexpr (!kIsLast) next();
    wgmma_wait<kIsLast ? 0 : 1>();
    pin_registers(second);
    release(&shared_.dscores_empty);
    if constexpr (kIsLast) release(&shared_.keys_empty[this->keys_stage()]);
    add(second, 1);
    wgmma_wait<0>();
  }

  __device__ __forceinline__ void add(const float (&sums)[kBlockQ / 2], int piece) {
    const int64_t tile =
        first_query_sums(params_, work(), head_) + Base::Work::query_tile(item_step_);
    float* to = params_.query_sums + tile * Config::kTileFloats + part_ * Config::kPartFloats +
                piece * (Config::kPartFloats / kPieces) + this->fragment_;
#pragma unroll
    for (int j = 0; j < kBlockQ / 8; ++j) {
      const float four[4] = {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
      atomic_add_4(to + j * (4 * kWarpSize), four);
    }
  }

  __device__ __forceinline__ int steps() const {
    return (work().step_end - work().step_begin) * params_.call.group;
  }
  __device__ __forceinline__ void next_step() {
    ++step_;
    if (++head_ == params_.call.group) {
      head_ = 0;
      ++item_step_;
    }
  }
  __device__ __forceinline__ void next_item() {
    release(&shared_.work_empty[work_.stage()]);
    work_.advance();
    keys_.advance();
    keys_.advance();
  }

  using Base::dk_;
  using Base::dprobs_;
  using Base::dscores16_;
  using Base::dv_;
  using Base::head_;
  using Base::item_step_;
  using Base::keys_;
  using Base::params_;
  using Base::parity;
  using Base::part_;
  using Base::probs16_;
  using Base::release;
  using Base::scores_;
  using Base::shared_;
  using Base::stage;
  using Base::step_;
  using Base::values;
  using Base::work;
  using Base::work_;
};

}  // namespace strobe
