#pragma once

// What a thread of a consumer warpgroup of attention_forward_flash_sm90 (flash_forward.cuh) holds
// of 64 rows, and the steps [3] to [7] on it. A warp has 16 of the rows; a lane has of every 16 × 8
// scores or elements of O the rows g and g + 8, g = lane / 4, which arrays call half 0 and 1, and
// the columns 2c and 2c + 1, c = lane % 4.

#include <cstdint>

#include "strobe/gpu/math.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/gpu/stmatrix.cuh"
#include "strobe/gpu/thread_index.cuh"
#include "strobe/gpu/tma.cuh"
#include "strobe/gpu/wgmma.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_config.h"
#include "strobe/ops/attention/cuda/sm90/flash_forward_dropout.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_forward_work.cuh"

namespace strobe {

// A thread's index, for what happens once a tile of queries.
template <class Config>
__device__ __forceinline__ int forward_sm90_thread() {
  return Config::kRecomputesIndices ? thread_index() : static_cast<int>(threadIdx.x);
}

template <class Config>
class FlashForwardSm90Rows {
  using T = typename Config::T;
  static constexpr int kHeadDim = Config::kHeadDim, kBlockK = Config::kBlockK;
  static constexpr int kColumns = Config::kColumns;
  static constexpr int kKeyTiles = kBlockK / 8;     // 16 × 8 elements of S
  static constexpr int kValueTiles = kHeadDim / 8;  // and of O
  static constexpr float kNothing = -INFINITY;
  // The subtrahend of a row that has seen nothing: −∞ − (−∞) would be NaN.
  static constexpr float kLowest = -1e30f;
  // A subtrahend rises when the largest exponent is above it by more than kSlack; then the sum of
  // some thread's exponentials is above kMostSum. Up to there all of them can be rounded to f16.
  static constexpr float kSlack = 15.25f, kMostSum = 1 << 15;

 public:
  // `first_row` of the warp, counted from the tile's.
  __device__ explicit FlashForwardSm90Rows(int first_row) : row_(first_row + lane() / 4) {}

  // S of a tile of keys or, where the rest of it is seen by nobody, of its first part.
  using Scores = float[4 * kKeyTiles];
  using PartScores = float[Config::kPartK / 2];

  // From an operand's panel of so many rows to the next.
  static constexpr uint64_t panel_step(int rows) {
    return operand_step(rows * kColumns * sizeof(T));
  }

  // [3] Operands: the warpgroup's rows of queries, and a tile of keys.
  template <int kCount>
  static __device__ __forceinline__ void issue_scores(float (&scores)[kCount], uint64_t q,
                                                      uint64_t k) {
    pin_registers(scores);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const uint64_t along = step % 4 * kStepAlongRow;
      wgmma_m64k16<T>(scores, q + step / 4 * panel_step(Config::kBlockQ) + along,
                      k + step / 4 * panel_step(kBlockK) + along, step > 0);
    }
    wgmma_commit();
  }

  // [6] With all of P, or with its first columns. `accumulate`: to what is in O, else O is set.
  template <bool kIsPart>
  __device__ __forceinline__ void issue_output(uint64_t v, bool accumulate) {
    pin_output();
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < (kIsPart ? Config::kPartK : kBlockK) / 16; ++step) {
      wgmma_m64k16<T, Major::mn>(out_, probs_[step], v + step * kStepDownRows,
                                 accumulate || step > 0);
    }
    wgmma_commit();
  }

  // After the wait for products that write or read them.
  __device__ __forceinline__ void pin_output() {
    pin_registers(out_);
#pragma unroll
    for (auto& step : probs_) pin_registers(step);
  }

  // [4]
  template <int kCount>
  static __device__ __forceinline__ void apply_sign(float (&scores)[kCount], int sign) {
#pragma unroll
    for (float& score : scores) score = sign == 0 ? 0 : -score;
  }

  // [4]
  template <int kCount>
  __device__ __forceinline__ void mask(float (&scores)[kCount], const RowLimits& limits,
                                       int first_key) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = this->row() + 8 * half;
      const int column = first_key + 2 * (lane() % 4);
      const bool is_query = row >= limits.query_begin && row < limits.query_end;
      const int begin = max(limits.key_begin, row + limits.low_shift) - column;
      const int end = is_query ? min(limits.key_end, row + limits.high_shift) - column : 0;
      const int seen_begin = elements_below(begin), seen_end = elements_below(end);
#pragma unroll
      for (int first = 0; first < kCount / 2; first += 32) {
        const uint32_t seen = bits_below(seen_end - first) & ~bits_below(seen_begin - first);
#pragma unroll
        for (int i = first; i < min(first + 32, kCount / 2); ++i) {
          float& score = scores[4 * (i / 2) + 2 * half + i % 2];
          score = (seen >> (i - first) & 1) != 0 ? score : kNothing;
        }
      }
    }
  }

  // [5] Of the first tile, when no product is under way.
  template <int kCount>
  __device__ __forceinline__ void begin_probs(const float (&scores)[kCount], float exponent_scale,
                                              const FlashForwardSm90Dropout& dropout, int tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float largest = row_maximum(scores, half) * exponent_scale;
      subtrahend_[half] = fmaxf(largest, kLowest);
    }
    exponentiate(scores, exponent_scale, row_sum_, dropout, tile);
  }

  // [5] Of a further tile, when no product is under way. What is subtracted stays as it was, and
  // nobody looks for maxima, unless the sums show that it is far too little.
  template <int kCount>
  __device__ __forceinline__ void make_probs(const float (&scores)[kCount], float exponent_scale,
                                             const FlashForwardSm90Dropout& dropout, int tile) {
    float sum[2];
    exponentiate(scores, exponent_scale, sum, dropout, tile);
    if (__any_sync(kFullWarp, fmaxf(sum[0], sum[1]) > kMostSum)) {
      raise_subtrahends(scores, exponent_scale);
      exponentiate(scores, exponent_scale, sum, dropout, tile);
    }
    row_sum_[0] += sum[0];
    row_sum_[1] += sum[1];
  }

  // [7] The rows' L, and what O is to be multiplied by; while the last product runs.
  __device__ __forceinline__ void finish_sums(float keep_scale, float* lse, int rows) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = reduce_warp<Sum, 4>(row_sum_[half]);
      const bool has_seen = sum != 0;  // NaN stays NaN
      factor_[half] = has_seen ? __fdividef(keep_scale, sum) : 0;
      const int row = this->row() + 8 * half;
      if (forward_sm90_thread<Config>() % kWarpSize % 4 == 0 && row < rows) {
        constexpr float kLn2 = 0.6931471805599453f;
        lse[row] = has_seen ? (subtrahend_[half] + log2_approximately(sum)) * kLn2 : kNothing;
      }
    }
  }

  // [7] A panel of the warp's 16 rows of output, rounded, into shared memory.
  __device__ __forceinline__ void put_panel(T* panel, int index) const {
    const int lane = forward_sm90_thread<Config>() % kWarpSize;
    const uint32_t address = shared_address(panel) + lane % 16 * (kColumns * sizeof(T));
#pragma unroll
    for (int chunk = 0; chunk < 8; chunk += 2) {
      const int first = 4 * (8 * index + chunk);
      if (first >= 4 * kValueTiles) break;
      const float* o = out_ + first;
      const uint32_t pairs[4] = {pack<T>(o[0] * factor_[0], o[1] * factor_[0]),
                                 pack<T>(o[2] * factor_[1], o[3] * factor_[1]),
                                 pack<T>(o[4] * factor_[0], o[5] * factor_[0]),
                                 pack<T>(o[6] * factor_[1], o[7] * factor_[1])};
      stmatrix_x4(address + ((chunk + lane / 16) ^ (lane % 8)) * 16, pairs);
    }
  }

 private:
  static __device__ __forceinline__ int lane() { return forward_sm90_thread<Config>() % kWarpSize; }

  __device__ __forceinline__ int row() const {
    if constexpr (!Config::kRecomputesIndices) return row_;
    return (forward_sm90_thread<Config>() - Config::kWarpgroup) / kWarpSize * 16 + lane() / 4;
  }

  // [5] What decides about 32 keys is drawn when half of the 32 before are made. [perf] `after`: a
  // value of this step; drawn earlier, it would be between products, and tensor cores would wait.
  __device__ __forceinline__ void draw_ahead(const FlashForwardSm90Dropout& dropout, int tile,
                                             int step, int steps, float after) {
    const int group = (step + 1) / 2;
    if ((step == 0 || step % 2 == 1) && 2 * group < steps) {
      draws_[group] = dropout.draw(tile * (kBlockK / 32) + group, __float_as_uint(after));
    }
  }

  // Of a row, in the order of the thread's elements, 8 columns apart in pairs: how many lie below
  // `column`, counted from the thread's first.
  static __device__ __forceinline__ int elements_below(int column) {
    const int positive = max(column, 0);
    return positive / 8 * 2 + min(positive % 8, 2);
  }

  static __device__ __forceinline__ uint32_t bits_below(int count) {
    return count >= 32 ? ~0u : (1u << max(count, 0)) - 1;
  }

  template <int kCount>
  static __device__ __forceinline__ float row_maximum(const float (&scores)[kCount], int half) {
    float most = kNothing;
#pragma unroll
    for (int n = 0; n < kCount / 4; ++n) {
      most = fmaxf(most, fmaxf(scores[4 * n + 2 * half], scores[4 * n + 2 * half + 1]));
    }
    return reduce_warp<Maximum, 4>(most);
  }

  // [5] What a row gets does not depend on its neighbours: where this raises the subtrahend, the
  // row's own sums are too large.
  template <int kCount>
  __device__ __forceinline__ void raise_subtrahends(const float (&scores)[kCount],
                                                    float exponent_scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float before = subtrahend_[half];
      const float largest = row_maximum(scores, half) * exponent_scale;
      subtrahend_[half] = largest > before + kSlack ? largest : before;
      factor_[half] = exp2_approximately(before - subtrahend_[half]);
      row_sum_[half] *= factor_[half];
    }
#pragma unroll
    for (int i = 0; i < 4 * kValueTiles; ++i) out_[i] *= factor_[i / 2 % 2];
  }

  // [5] P as the left operand of the next product with V, and its sums before rounding and dropout.
  template <int kCount>
  __device__ __forceinline__ void exponentiate(const float (&scores)[kCount], float exponent_scale,
                                               float (&sum)[2],
                                               const FlashForwardSm90Dropout& dropout, int tile) {
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int step = 0; step < kCount / 8; ++step) {
      float probs[8];
      if constexpr (Config::kHasDropout) {
        draw_ahead(dropout, tile, step, kCount / 8,
                   step == 0 ? scores[0] * exponent_scale - subtrahend_[0] : sum[0]);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int i = 8 * step + j, half = j / 2 % 2;
        const float exponent = scores[i] * exponent_scale - subtrahend_[half];
        probs[j] = exp2_approximately(exponent);
        sum[half] += probs[j];
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) probs_[step][j] = pack<T>(probs[2 * j], probs[2 * j + 1]);
      if constexpr (Config::kHasDropout) {
        const FlashForwardSm90Dropout::Draw& draw = draws_[step / 2];
        dropout.clear(probs_[step], step % 2 == 0 ? draw.even : draw.odd);
      }
    }
  }

  int row_;
  uint32_t probs_[kBlockK / 16][4];  // P, rounded: left operands of 16 keys
  float out_[4 * kValueTiles];
  FlashForwardSm90Dropout::Draw draws_[Config::kHasDropout ? kBlockK / 32 : 1];
  // Of each half: what is subtracted from the scores in base 2, the sum of the exponentials, and
  // what O is to be multiplied by.
  float subtrahend_[2], row_sum_[2], factor_[2];
};

}  // namespace strobe
