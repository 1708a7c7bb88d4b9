#pragma once

// What a warp of attention_forward_flash_portable (flash_forward.cuh) does with a tile: the steps
// [3] to [7]. Its rows are kRowBlocks blocks of 16, one product high; a lane holds of each the rows
// g and g + 8, g = lane / 4, which arrays call half 0 and 1.

#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/math.cuh"
#include "strobe/gpu/mma.cuh"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/portable/dropout_fragment.cuh"
#include "strobe/ops/attention/cuda/portable/forward_grid.cuh"
#include "strobe/ops/attention/cuda/portable/tile_copy.cuh"
#include "strobe/ops/attention/cuda/portable/tile_table.h"

namespace strobe {

template <class T_, int kHeadDim_, bool kHasDropout_, PortableArch kArch_>
struct FlashForwardPortable {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kHasDropout = kHasDropout_;
  static constexpr bool kIsSm80 = kArch_ == PortableArch::sm80;
  static constexpr FlashForwardTile kTile = flash_forward_tile(kHeadDim, kHasDropout, kArch_);
  static constexpr int kBlockQ = kTile.block_q, kBlockK = kTile.block_k;
  static constexpr int kStages = kTile.stages, kBlocksPerSm = kTile.blocks_per_sm;
  static constexpr int kThreads = 32 * kTile.warps;
  static constexpr int kRowsPerWarp = kBlockQ / kTile.warps;
  static constexpr int kRowBlocks = kRowsPerWarp / 16;  // of 16 rows, one product high
  static constexpr bool kQueriesInRegisters = kTile.queries_in_registers;
  static constexpr int kDrawnAhead = kTile.drawn_ahead, kKeyParts = kTile.key_parts;
  static constexpr int kTileBytes = kBlockK * kHeadDim * 2;  // of keys, or of values

  static constexpr int kQueryBytes = kBlockQ * kHeadDim * 2;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStages * kTileBytes;
  static_assert(kSharedBytes == flash_forward_shared_bytes(true, kHeadDim, kHasDropout, kArch_));
  static_assert(kRowsPerWarp == 16 || kRowsPerWarp == 32);
  static_assert(kBlockK % (16 * kKeyParts) == 0);
  static_assert(kBlockK % 32 == 0 && kDrawnAhead >= 1 && kDrawnAhead <= kBlockK / 32);
};

// The tile's work for one warp, in the order of the steps.
template <class Config>
class FlashForwardWarp {
  using T = typename Config::T;
  static constexpr int kHeadDim = Config::kHeadDim, kBlockK = Config::kBlockK;
  static constexpr int kRowBlocks = Config::kRowBlocks;
  static constexpr int kKeyTiles = kBlockK / 8;     // products side by side in S
  static constexpr int kValueTiles = kHeadDim / 8;  // and in O
  static constexpr int kDepthSteps = kHeadDim / 16;
  static constexpr int kKeyGroups = kBlockK / 32;  // what dropout draws at once
  static constexpr int kDrawnAhead = Config::kDrawnAhead;
  static constexpr float kNothing = -INFINITY;
  // The subtrahend of a row that has seen nothing: −∞ − (−∞) would be NaN.
  static constexpr float kLowest = -1e30f;
  static constexpr float kSlack = 8;

 public:
  // `row` is the warp's first row, counted from the start of the sequence.
  __device__ FlashForwardWarp(uint32_t shared_q, const Visibility& visibility, int row, float scale)
      : first_row_(row + lane() / 4), scale_(scale), exponent_scale_(scale * kLog2E) {
    const int warp_row = static_cast<int>(threadIdx.x) / 32 * Config::kRowsPerWarp;
    // Lane l reads row l % 16 and columns 8·(l / 16) of a 16 × 16 fragment of queries …
    query_rows_ = shared_q + (warp_row + lane() % 16) * (2 * kHeadDim);
    query_chunk_ = lane() / 16;
    // … of keys row l % 8 + 8·(l / 16), columns 8·(l / 8 % 2), and of values (transposed) the same
    // as of queries.
    key_row_ = lane() % 8 + lane() / 16 * 8;
    key_chunk_ = lane() / 8 % 2;
    limits_ = row_limits(visibility);
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        subtrahend_[m][half] = kLowest;
        row_sum_[m][half] = 0;
      }
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out_[m][n][e] = 0;
      }
    }
  }

  // After [1].
  __device__ __forceinline__ void take_queries() {
    if constexpr (Config::kQueriesInRegisters) {
#pragma unroll
      for (int step = 0; step < kDepthSteps; ++step) load_queries(step, queries_[step]);
    }
  }

  // [3] of a tile of keys, and the maxima of its scores.
  __device__ __forceinline__ void multiply_keys(uint32_t shared_k, int first_key,
                                                const DropoutRowBlock* dropout) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) scores_[m][n][e] = 0;
      }
    }
    const uint32_t rows = shared_k + key_row_ * (2 * kHeadDim);
    constexpr int kPartTiles = kKeyTiles / Config::kKeyParts;
#pragma unroll
    for (int part = 0; part < kKeyTiles; part += kPartTiles) {
#pragma unroll
      for (int step = 0; step < kDepthSteps; ++step) {
        multiply_keys_step(rows, part, part + kPartTiles, step, first_key, dropout);
      }
      find_maxima(part, part + kPartTiles);
    }
  }

  // [4] The bias, brought to the scale of the products. `bias` is of query 0.
  __device__ __forceinline__ void add_bias(const float* bias, int64_t query_stride, int first_key,
                                           const Visibility& visibility) {
    const float inverse_scale = 1 / scale_;
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = first_row_ + 16 * m + 8 * half;
        if (query >= visibility.seq_q) continue;
        const float* row = bias + query * query_stride;
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int key = first_key + 8 * n + 2 * (lane() % 4) + e;
            if (key < visibility.seq_k) scores_[m][n][2 * half + e] += row[key] * inverse_scale;
          }
        }
      }
    }
    find_maxima(0, kKeyTiles);
  }

  // [4]
  __device__ __forceinline__ void mask(int first_key) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = first_row_ + 16 * m + 8 * half;
        const int begin = max(limits_.key_begin, query + limits_.low_shift);
        const int end = min(limits_.key_end, query + limits_.high_shift);
        const bool is_query = query >= limits_.query_begin && query < limits_.query_end;
        const uint32_t count = is_query ? max(end - begin, 0) : 0;
        const uint32_t column = first_key + 2 * (lane() % 4) - begin;
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& score = scores_[m][n][2 * half + e];
            score = column + 8 * n + e < count ? score : kNothing;
          }
        }
      }
    }
    find_maxima(0, kKeyTiles);
  }

  // [5] The subtrahend of a row moves only where a score exceeds it by more than kSlack: P stays
  // below 2^kSlack, and most tiles leave the sums as they are. Each row moves by itself.
  __device__ __forceinline__ void update_maxima() {
    bool rises = false;
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& most = largest_[m][half];
        most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, 2));
        most *= exponent_scale_;
        rises |= most > subtrahend_[m][half] + kSlack;
      }
    }
    if (__any_sync(kFullWarp, rises)) raise_subtrahends();
  }

  // [6], 32 keys at a time.
  __device__ __forceinline__ void multiply_values(uint32_t shared_v, int first_key,
                                                  const DropoutRowBlock* dropout) {
    const uint32_t rows = shared_v + (lane() % 16) * (2 * kHeadDim);
#pragma unroll
    for (int n = 0; n < kKeyTiles; n += 4) {
      uint32_t probs[2][kRowBlocks][4];
#pragma unroll
      for (int m = 0; m < kRowBlocks; ++m) {
        exponentiate(m, n, probs[0][m]);
        exponentiate(m, n + 2, probs[1][m]);
        if constexpr (Config::kHasDropout) {
          DropoutRowBlock::clear(probs[0][m], draws_[m][n / 4].even);
          DropoutRowBlock::clear(probs[1][m], draws_[m][n / 4].odd);
        }
      }
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int d = 0; d < kValueTiles; d += 2) {
          uint32_t values[4];
          ldmatrix_x4_transposed(values,
                                 rows + (8 * n + 16 * step) * (2 * kHeadDim) +
                                     swizzled_chunk<kHeadDim>(lane() % 16, d + lane() / 16));
#pragma unroll
          for (int m = 0; m < kRowBlocks; ++m) {
            if (d == 0 && n / 4 + kDrawnAhead < kKeyGroups) {
              draw_beside(dropout, first_key, n / 4 + kDrawnAhead, 1, step, 2, m, values[0]);
            }
            multiply(out_[m][d], probs[step][m], values[0], values[1]);
            multiply(out_[m][d + 1], probs[step][m], values[2], values[3]);
          }
        }
      }
    }
  }

  // [7] Through the warp's own rows of the queries, which it has done with.
  __device__ __forceinline__ void write(uint32_t shared_q, const HeadRows<T>& out, float* lse,
                                        int rows, int columns, float keep_scale) {
    const int warp_row = static_cast<int>(threadIdx.x) / 32 * Config::kRowsPerWarp;
    const int first = first_row_ - lane() / 4;
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = row_sum_[m][half];
        sum += __shfl_xor_sync(kFullWarp, sum, 1);
        sum += __shfl_xor_sync(kFullWarp, sum, 2);
        const float factor = sum == 0 ? 0 : keep_scale / sum;  // NaN stays NaN
        const int row = 16 * m + 8 * half + lane() / 4;
        if (lane() % 4 == 0 && first + row < rows) {
          lse[first + row] = sum == 0 ? kNothing : subtrahend_[m][half] * kLn2 + logf(sum);
        }
#pragma unroll
        for (int n = 0; n < kValueTiles; ++n) {
          store_shared_4(shared_q + swizzled_offset<kHeadDim>(warp_row + row, n) + 4 * (lane() % 4),
                         pack<T>(out_[m][n][2 * half] * factor, out_[m][n][2 * half + 1] * factor));
        }
      }
    }
    __syncwarp();
    store_rows<Config::kRowsPerWarp, kHeadDim>(shared_q, warp_row, out, first, rows, columns);
  }

 private:
  static constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }

  static __device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    if constexpr (Config::kIsSm80) {
      mma_m16n8k16<T>(sum, a, b0, b1);
    } else {
      mma_m16n8k8_f16(sum, a[0], a[1], b0);
      mma_m16n8k8_f16(sum, a[2], a[3], b1);
    }
  }

  // The largest scores of the columns of the products [begin, end), and of those in front of them.
  __device__ __forceinline__ void find_maxima(int begin, int end) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = begin == 0 ? kNothing : largest_[m][half];
#pragma unroll
        for (int n = begin; n < end; ++n) {
          most = fmaxf(most, fmaxf(scores_[m][n][2 * half], scores_[m][n][2 * half + 1]));
        }
        largest_[m][half] = most;
      }
    }
  }

  // One step of head_dim of the products [begin, end); dropout's draws are beside the first ones.
  __device__ __forceinline__ void multiply_keys_step(uint32_t rows, int begin, int end, int step,
                                                     int first_key,
                                                     const DropoutRowBlock* dropout) {
    uint32_t queries[kRowBlocks][4];
    if constexpr (!Config::kQueriesInRegisters) load_queries(step, queries);
#pragma unroll
    for (int n = begin; n < end; n += 2) {
      uint32_t keys[4];
      ldmatrix_x4(keys, rows + n * 8 * (2 * kHeadDim) +
                            swizzled_chunk<kHeadDim>(key_row_, 2 * step + key_chunk_));
#pragma unroll
      for (int m = 0; m < kRowBlocks; ++m) {
        if (n == 0) draw_beside(dropout, first_key, 0, kDrawnAhead, step, kDepthSteps, m, keys[0]);
        if constexpr (Config::kQueriesInRegisters) {
          multiply(scores_[m][n], queries_[step][m], keys[0], keys[1]);
          multiply(scores_[m][n + 1], queries_[step][m], keys[2], keys[3]);
        } else {
          multiply(scores_[m][n], queries[m], keys[0], keys[1]);
          multiply(scores_[m][n + 1], queries[m], keys[2], keys[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void load_queries(int step, uint32_t (&queries)[kRowBlocks][4]) const {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
      ldmatrix_x4(queries[m], query_rows_ + m * 16 * (2 * kHeadDim) +
                                  swizzled_chunk<kHeadDim>(lane() % 16, 2 * step + query_chunk_));
    }
  }

  __device__ __forceinline__ void raise_subtrahends() {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float before = subtrahend_[m][half];
        const float after = largest_[m][half] > before + kSlack ? largest_[m][half] : before;
        const float factor = exp2_approximately(before - after);
        subtrahend_[m][half] = after;
        row_sum_[m][half] *= factor;
#pragma unroll
        for (int n = 0; n < kValueTiles; ++n) {
          out_[m][n][2 * half] *= factor;
          out_[m][n][2 * half + 1] *= factor;
        }
      }
    }
  }

  // In part `part` of `parts` of a phase that draws `count` groups from `first` on.
  __device__ __forceinline__ void draw_beside(const DropoutRowBlock* dropout, int first_key,
                                              int first, int count, int part, int parts, int m,
                                              uint32_t after) {
    if constexpr (Config::kHasDropout) {
      const int draws = count * kRowBlocks;
#pragma unroll
      for (int i = part * draws / parts; i < (part + 1) * draws / parts; ++i) {
        if (i % kRowBlocks != m) continue;
        const int group = first + i / kRowBlocks;
        // Two row blocks of a warp are an even and an odd one.
        const bool is_odd_block = kRowBlocks == 2 ? m == 1 : first_row_ / 16 % 2 != 0;
        draws_[m][group] = dropout[m].draw(first_key / 32 + group, is_odd_block, after);
      }
    }
  }

  // P of 16 keys, as the left operand of the product with V.
  __device__ __forceinline__ void exponentiate(int m, int n, uint32_t (&probs)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int half = i % 2;
      const float* pair = &scores_[m][n + i / 2][2 * half];
      const float low = exp2_approximately(pair[0] * exponent_scale_ - subtrahend_[m][half]);
      const float high = exp2_approximately(pair[1] * exponent_scale_ - subtrahend_[m][half]);
      row_sum_[m][half] += low + high;
      probs[i] = pack<T>(low, high);
    }
  }

  int first_row_;
  float scale_, exponent_scale_;
  uint32_t query_rows_;
  int query_chunk_, key_row_, key_chunk_;
  RowLimits limits_;
  uint32_t queries_[Config::kQueriesInRegisters ? kDepthSteps : 1][kRowBlocks][4];
  DropoutRowBlock::Draw draws_[kRowBlocks][Config::kHasDropout ? kBlockK / 32 : 1];
  float scores_[kRowBlocks][kKeyTiles][4];
  float out_[kRowBlocks][kValueTiles][4];
  float largest_[kRowBlocks][2];  // score of a row in this tile
  // Of each row: what is subtracted from the scores in base 2, and the sum of the exponentials.
  float subtrahend_[kRowBlocks][2], row_sum_[kRowBlocks][2];
};

}  // namespace strobe
