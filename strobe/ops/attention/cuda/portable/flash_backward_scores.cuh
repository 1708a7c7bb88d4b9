#pragma once

#include <cstdint>
#include <type_traits>

#include "strobe/gpu/math.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/flash_backward_band.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_dropout.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_fragments.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_params.h"

namespace strobe {

// What a warp of flash backward does with its scores, element by element: from products to P and
// dS. Scores lie in accumulators, kWarpRows rows by kStep columns.
template <class Config>
class FlashBackwardScores {
 public:
  using T = typename Config::T;
  using Params = FlashBackwardParams<T>;
  using Scores = typename Config::Scores;
  // Scores as left operands: of 16 columns, 16 rows.
  using Lefts = Fragment<T>[Config::kColumnTiles / 2][Config::kRowTiles];
  static constexpr int kColumnPairs = Config::kColumnTiles / 4;  // of 32 columns
  using TileSurvivors = PackedSurvivors[Config::kRowTiles][kColumnPairs];

  __device__ FlashBackwardScores(const Params& params, const AttentionDeviceSequence& sequence,
                                 int tile, int head)
      : params_(params),
        band_(kRowsAreKeys ? Band::of_keys(sequence.visibility)
                           : Band::of_queries(sequence.visibility)),
        batch_(sequence.batch),
        first_q_(sequence.first_q),
        first_k_(sequence.first_k),
        length_(
            static_cast<int>(kRowsAreKeys ? sequence.visibility.seq_k : sequence.visibility.seq_q)),
        dropout_head_(sequence.dropout_head),
        head_(head),
        block_row_(tile * Config::kBlockRows),
        warp_row_(kRoles == 2 ? warp() % (Config::kTile.warps / 2) * Config::kWarpRows
                              : warp() / Config::kTile.head_splits * Config::kWarpRows),
        dropout_(params.dropout) {}

  // Row and column of an element of the accumulator (m, n), from the warp's first ones.
  static __device__ int row_of(int m, int element) { return 16 * m + lane() / 4 + element / 2 * 8; }
  static __device__ int column_of(int n, int element) {
    return 8 * n + lane() % 4 * 2 + element % 2;
  }

  template <class Function>
  static __device__ __forceinline__ void for_each_score(const Function& function) {
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) function(m, n, e);
      }
    }
  }

 protected:
  static constexpr bool kRowsAreKeys = Config::kRowsAreKeys;
  static constexpr int kRoles = Config::kRoles;
  using Dropped = DropoutColumns<kRowsAreKeys>;
  static constexpr float kUnit = kExponentUnit<typename Config::T>;

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

  __device__ bool sees_nothing(int column) const {
    return band_.hides_all(block_row_ + warp_row_, Config::kWarpRows, column, Config::kStep);
  }

  __device__ const float2* statistics(int head) const {
    const int64_t row = static_cast<int64_t>(batch_) * params_.heads_q + head;
    return params_.statistics + row * params_.seq_q + first_q_;
  }

  // With queries as rows, their statistics are kept from the start.
  __device__ __forceinline__ void take_statistics() {
    if constexpr (!kRowsAreKeys) {
      const float2* all = statistics(head_);
#pragma unroll
      for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int query = block_row_ + warp_row_ + row_of(m, 2 * half);
          const bool is_inside = query >= band_.row_begin && query < band_.row_end;
          row_statistics_[m][half] = is_inside ? all[query] : float2{};
        }
      }
    }
  }

  // {L in kExponentUnit, Δ·keep} of the query of an element.
  __device__ __forceinline__ float2 statistics_of(const float2* columns, int m, int n,
                                                  int e) const {
    if constexpr (kRowsAreKeys) {
      return columns[column_of(n, e)];
    } else {
      return row_statistics_[m][e / 2];
    }
  }

  // Q Kᵀ becomes P.
  __device__ __forceinline__ void to_probs(Scores& scores, const float2* stats, int column,
                                           int head) const {
    const int row = block_row_ + warp_row_;
    const float scale = params_.scale * kUnit;
    for_each_score([&](int m, int n, int e) {
      const float lse = statistics_of(stats, m, n, e).x;
      scores[m][n][e] = fmaf(scores[m][n][e], scale, -lse);
    });
    if (params_.bias.data != nullptr) add_bias(scores, row, column, head);
    if (!band_.shows_all(row, Config::kWarpRows, column, Config::kStep)) hide(scores, row, column);
    for_each_score([&](int m, int n, int e) {
      float& score = scores[m][n][e];
      score = sizeof(typename Config::T) == 4 ? expf(score) : exp2_approximately(score);
    });
  }

  // function(m, pair, survivors) for every 16 rows and 32 columns of scores.
  template <class Function>
  __device__ __forceinline__ void for_each_dropout_pair(int column, int head,
                                                        const Function& function) const {
    const uint32_t dropout_head = dropout_head_ + static_cast<uint32_t>(head);
    const int row = block_row_ + warp_row_;
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int pair = 0; pair < Config::kColumnTiles / 4; ++pair) {
        function(m, pair, dropout_.pair(dropout_head, row / 16 + m, column / 16 + 2 * pair));
      }
    }
  }
  // Of the accumulator n of a pair's four.
  static __device__ __forceinline__ uint32_t survivor_mask(const DropoutPair& survivors, int n,
                                                           int element) {
    return Dropped::survivor_mask(survivors, n / 2, n % 2, element);
  }

  // The same for a warp of two row tiles, which begin at an even one.
  __device__ __forceinline__ void draw(TileSurvivors& survivors, int column, int head) const {
    const uint32_t dropout_head = dropout_head_ + static_cast<uint32_t>(head);
    const uint32_t row_block = (block_row_ + warp_row_) / 16;
#pragma unroll
    for (int pair = 0; pair < kColumnPairs; ++pair) {
      const uint32_t column_block = column / 16 + 2 * pair;
      survivors[0][pair] = dropout_.template packed<false>(dropout_head, row_block, column_block);
      survivors[1][pair] =
          dropout_.template packed<true>(dropout_head, row_block + 1, column_block);
    }
  }

  // Z∘P of P, in 16 bits.
  static __device__ __forceinline__ void drop(Lefts& probs, const TileSurvivors& survivors) {
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; n += 2) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          probs[n / 2][m].word[i] &=
              Dropped::survivor_masks(survivors[m][n / 4], n % 4 / 2, i / 2, i % 2);
        }
      }
    }
  }

  // P becomes Z∘P, and dO Vᵀ becomes dS, both without the factor 1/keep.
  __device__ __forceinline__ void to_dscores(Scores& probs, Scores& dprobs, const float2* stats,
                                             int column, int head) const {
    if constexpr (Config::kHasDropout) {
      for_each_dropout_pair(column, head, [&](int m, int pair, const DropoutPair& survivors) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          const int n = 4 * pair + i / 4, e = i % 4;
          const float prob = probs[m][n][e], delta = statistics_of(stats, m, n, e).y;
          const uint32_t mask = survivor_mask(survivors, i / 4, e);
          probs[m][n][e] = __uint_as_float(__float_as_uint(prob) & mask);
          dprobs[m][n][e] = fmaf(probs[m][n][e], dprobs[m][n][e], -prob * delta);
        }
      });
    } else {
      for_each_score([&](int m, int n, int e) {
        const float delta = statistics_of(stats, m, n, e).y;
        dprobs[m][n][e] = probs[m][n][e] * (dprobs[m][n][e] - delta);
      });
    }
  }

  // Two roles: P goes to the other warp in f16, and becomes Z∘P, the left operand of dV's product.
  // Who draws here gives P as negative where it falls; else drop() is still to come.
  __device__ __forceinline__ void give_probs(Scores& probs, Lefts& left, unsigned char* to,
                                             int column, int head) const {
    const auto give = [&](int m, int n, const float(&low)[4], const float(&high)[4]) {
      exchanged(to, m, n) = {pack<f16>(low[0], low[1]), pack<f16>(low[2], low[3]),
                             pack<f16>(high[0], high[1]), pack<f16>(high[2], high[3])};
      left[n / 2][m] = to_left<T>(probs[m][n], probs[m][n + 1]);
    };
    if constexpr (Config::kHasDropout && !Config::kPassesSurvivors) {
      for_each_dropout_pair(column, head, [&](int m, int pair, const DropoutPair& survivors) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
          float given[2][4];
          const int n = 4 * pair + half;
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            float& prob = probs[m][n + i / 4][i % 4];
            const uint32_t mask = survivor_mask(survivors, half + i / 4, i % 4);
            given[i / 4][i % 4] = __uint_as_float(__float_as_uint(prob) | (~mask & 0x80000000u));
            prob = __uint_as_float(__float_as_uint(prob) & mask);
          }
          give(m, n, given[0], given[1]);
        }
      });
    } else {
#pragma unroll
      for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < Config::kColumnTiles; n += 2) give(m, n, probs[m][n], probs[m][n + 1]);
      }
    }
  }

  // What the other role gave, and dO Vᵀ, become dS.
  __device__ __forceinline__ void take_probs(Scores& dprobs, Lefts& left, const unsigned char* from,
                                             const float2* stats,
                                             const TileSurvivors& survivors) const {
#pragma unroll
    for (int n = 0; n < Config::kColumnTiles; n += 2) {
#pragma unroll
      for (int m = 0; m < Config::kRowTiles; ++m) {
        const uint4 words = exchanged(from, m, n);
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const __half2 both = reinterpret_cast<const __half2&>(word[i / 2]);
          const float given = i % 2 == 0 ? __low2float(both) : __high2float(both);
          const float delta = statistics_of(stats, m, n + i / 4, i % 4).y;
          float& dprob = dprobs[m][n + i / 4][i % 4];
          if constexpr (Config::kPassesSurvivors) {
            const uint32_t mask =
                Dropped::survivor_mask(survivors[m][n / 4], n % 4 / 2, i / 4, i % 4);
            dprob = fmaf(__uint_as_float(__float_as_uint(given) & mask), dprob, -given * delta);
          } else {
            dprob = Config::kHasDropout ? fmaf(fmaxf(given, 0), dprob, -fabsf(given) * delta)
                                        : given * (dprob - delta);
          }
        }
        left[n / 2][m] = to_left<T>(dprobs[m][n], dprobs[m][n + 1]);
      }
    }
  }

  static __device__ __forceinline__ void to_lefts(Lefts& left, const Scores& scores) {
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; n += 2) {
        left[n / 2][m] = to_left<T>(scores[m][n], scores[m][n + 1]);
      }
    }
  }

  const Params& params_;
  const Band band_;
  const int batch_, first_q_, first_k_;
  const int length_;  // of the sequence's rows
  const uint32_t dropout_head_;
  const int head_;  // of the rows
  const int block_row_, warp_row_;
  const Dropped dropout_;
  float2 row_statistics_[Config::kRowTiles][2];

 private:
  // In the order of fragments, so that lanes lie side by side.
  template <class Byte>
  static __device__ auto& exchanged(Byte* warps, int m, int n) {
    using Words = std::conditional_t<std::is_const_v<Byte>, const uint4, uint4>;
    return reinterpret_cast<Words*>(warps)[(m * Config::kColumnTiles + n) / 2 * kWarpSize + lane()];
  }

  __device__ __forceinline__ void add_bias(Scores& scores, int row, int column, int head) const {
    for_each_score([&](int m, int n, int e) {
      const int r = row + row_of(m, e), c = column + column_of(n, e);
      if (r >= band_.row_end || c >= band_.column_end) return;
      const int query = kRowsAreKeys ? c : r, key = kRowsAreKeys ? r : c;
      scores[m][n][e] += params_.bias.row(batch_, head, query)[key] * kUnit;
    });
  }

  __device__ __forceinline__ void hide(Scores& scores, int row, int column) const {
    for_each_score([&](int m, int n, int e) {
      const int r = row + row_of(m, e), c = column + column_of(n, e);
      if (c < band_.begin_of(r) || c >= band_.end_of(r)) scores[m][n][e] = -INFINITY;
    });
  }
};

}  // namespace strobe
