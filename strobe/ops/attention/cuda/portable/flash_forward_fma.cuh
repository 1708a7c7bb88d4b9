#pragma once

// attention_forward_flash_fma
//
// Computes    S = scale·Q Kᵀ + bias, masked                            (1)
//             O = (Z∘softmax(S)) V,   L = m + ln l                     (2), (4) by (5)–(7)
// Shapes      q [B,Tq,Hq,D]  k,v [B,Tk,Hkv,D]  →  out [B,Tq,Hq,D]  lse [B,Hq,Tq] f32; f32
// Mapping     one CTA of 8 × 16 threads per (query tile, head, sequence), in forward_grid.cuh's
//             order; a thread owns the rows y + 8i, and the columns of S and of O that are its x's
// Shared      Q kBlockQ×D · K kBlockK×D, later P kBlockQ×kBlockK, swizzled · V kBlockK×D
// Steps       [1] load Q  [2] load K,V  [3] S=QKᵀ  [4] bias, mask  [5] update m, l; rescale O
//             [6] P = 2^(S − m), dropout, O += PV  [7] write O, L
// Requires    D a multiple of 8 up to kHeadDim, the columns behind it are zeros
// Numerics    everything in f32, products by FMA; base-2 exponent with scale·log₂e folded in
// Cost        4·B·Hq·Tq·Tk·D FLOP (half if causal); reads Q once, K,V ⌈Tq/kBlockQ⌉ times through L2

#include <cuda_runtime.h>

#include "strobe/gpu/math.cuh"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/forward_grid.cuh"
#include "strobe/ops/attention/cuda/portable/tile_table.h"
#include "strobe/ops/attention/dropout.h"

namespace strobe {

template <int kHeadDim_, bool kHasDropout_>
struct FlashForwardFma {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kHasDropout = kHasDropout_;
  static constexpr FlashForwardFmaTile kTile = flash_forward_fma_tile(kHeadDim);
  static constexpr int kBlockQ = kTile.block_q, kBlockK = kTile.block_k;
  static constexpr int kThreads = 128;
  static constexpr int kRows = kBlockQ / 8, kKeys = kBlockK / 16;  // of a thread
  static constexpr int kWidth = kHeadDim % 64 == 0 ? 4 : 2;        // neighbouring columns of O
  static constexpr int kColumns = kHeadDim / (16 * kWidth);        // of those, a thread's

  static constexpr int kQueryFloats = kBlockQ * kHeadDim, kValueFloats = kBlockK * kHeadDim;
  static constexpr int kProbFloats = kBlockQ * kBlockK;
  static constexpr int kKeyFloats = kProbFloats > kValueFloats ? kProbFloats : kValueFloats;
  static constexpr int kSharedBytes = 4 * (kQueryFloats + kKeyFloats + kValueFloats);
  static_assert(kSharedBytes ==
                flash_forward_shared_bytes(false, kHeadDim, kHasDropout, PortableArch::sm80));
};

// Where four floats, `chunk` of row `row`, lie in a tile of kColumns (a multiple of 32): the same
// chunk of eight consecutive rows is in different banks.
template <int kColumns>
__device__ __forceinline__ int swizzled_floats(int row, int chunk) {
  return row * kColumns + (chunk ^ (row % 8)) * 4;
}

__device__ __forceinline__ float4 load_floats(const float* from, bool is_aligned) {
  if (is_aligned) return *reinterpret_cast<const float4*>(from);
  return {from[0], from[1], from[2], from[3]};
}

// Rows [first, first + kRows) of a head; rows outside [begin, end) and columns from `columns` on
// become zeros and are not read.
template <int kRows, int kColumns, int kThreads, bool kIsSwizzled>
__device__ __forceinline__ void load_float_tile(float* shared, const BthdView<const float>& view,
                                                const float* rows, int first, int begin, int end,
                                                int columns) {
  constexpr int kChunks = kColumns / 4;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    float4 values = {};
    if (first + row >= begin && first + row < end && chunk * 4 < columns) {
      values =
          load_floats(rows + (first + row) * view.time_stride + chunk * 4, view.has_aligned_rows);
    }
    float* to = shared + (kIsSwizzled ? swizzled_floats<kColumns>(row, chunk) : i * 4);
    *reinterpret_cast<float4*>(to) = values;
  }
}

// A thread's part of a tile, in the order of the steps.
template <class Config>
class FlashForwardFmaThread {
  static constexpr int kHeadDim = Config::kHeadDim, kBlockK = Config::kBlockK;
  static constexpr int kRows = Config::kRows, kKeys = Config::kKeys;
  static constexpr int kWidth = Config::kWidth, kColumns = Config::kColumns;
  static constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

 public:
  __device__ FlashForwardFmaThread(int first_row, const Visibility& visibility)
      : first_row_(first_row + y()), limits_(row_limits(visibility)) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      row_max_[i] = -INFINITY;
      row_sum_[i] = 0;
#pragma unroll
      for (int c = 0; c < kColumns * kWidth; ++c) out_[i][c] = 0;
    }
  }

  // [3]
  __device__ __forceinline__ void multiply_keys(const float* shared_q, const float* shared_k) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kKeys; ++j) scores_[i][j] = 0;
    }
#pragma unroll 2
    for (int chunk = 0; chunk < kHeadDim / 4; ++chunk) {
      float4 keys[kKeys];
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        keys[j] =
            *reinterpret_cast<const float4*>(shared_k + swizzled_floats<kHeadDim>(key(j), chunk));
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 query = *reinterpret_cast<const float4*>(
            shared_q + swizzled_floats<kHeadDim>(y() + 8 * i, chunk));
#pragma unroll
        for (int j = 0; j < kKeys; ++j) {
          float& score = scores_[i][j];
          score = fmaf(query.x, keys[j].x, score);
          score = fmaf(query.y, keys[j].y, score);
          score = fmaf(query.z, keys[j].z, score);
          score = fmaf(query.w, keys[j].w, score);
        }
      }
    }
  }

  // [4] From here on scores are in base 2. `bias` is of query 0, or null.
  __device__ __forceinline__ void scale_and_mask(float scale, const float* bias,
                                                 int64_t bias_stride, int first_key) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int query = first_row_ + 8 * i;
      int begin = max(limits_.key_begin, query + limits_.low_shift);
      int end = min(limits_.key_end, query + limits_.high_shift);
      if (query < limits_.query_begin || query >= limits_.query_end) end = begin;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const int at = first_key + key(j);
        float& score = scores_[i][j];
        score *= scale * kLog2E;
        if (at < begin || at >= end) {
          score = -INFINITY;
        } else if (bias != nullptr) {
          score += bias[query * bias_stride + at] * kLog2E;
        }
      }
    }
  }

  // [5], and P of [6] in place of the scores; row sums are those of the whole row in each thread.
  __device__ __forceinline__ void update_softmax() {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float largest = scores_[i][0];
#pragma unroll
      for (int j = 1; j < kKeys; ++j) largest = fmaxf(largest, scores_[i][j]);
      largest = fmaxf(row_max_[i], reduce_warp<Maximum, 16>(largest));
      // A row that has seen nothing: 2^(−∞ − 0) is 0, where −∞ − (−∞) would be NaN.
      const float subtrahend = largest == -INFINITY ? 0 : largest;
      const float factor = exp2f(row_max_[i] - subtrahend);
      row_max_[i] = largest;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        scores_[i][j] = exp2f(scores_[i][j] - subtrahend);
        sum += scores_[i][j];
      }
      row_sum_[i] = row_sum_[i] * factor + reduce_warp<Sum, 16>(sum);
#pragma unroll
      for (int c = 0; c < kColumns * kWidth; ++c) out_[i][c] *= factor;
    }
  }

  // A thread's rows q, q + 8 and keys k, k + 8 of a block are the four bytes of one word.
  __device__ __forceinline__ void drop(const Dropout& dropout, PhiloxKey philox_key, uint32_t head,
                                       int first_key) {
#pragma unroll
    for (int i = 0; i < kRows; i += 2) {
#pragma unroll
      for (int j = 0; j < kKeys; j += 2) {
        const DropoutPosition position =
            dropout_position(head, first_row_ + 8 * i, first_key + key(j));
        const PhiloxWords words = philox<kPhiloxAttentionRounds>(position.counter, philox_key);
        const uint32_t high = position.word / 2 == 0 ? words.word[0] : words.word[2];
        const uint32_t low = position.word / 2 == 0 ? words.word[1] : words.word[3];
        const uint32_t word = position.word % 2 == 0 ? high : low;
#pragma unroll
        for (int byte = 0; byte < 4; ++byte) {
          float& prob = scores_[i + byte / 2][j + byte % 2];
          if ((word >> (8 * byte) & 0xffu) < dropout.threshold) prob = 0;
        }
      }
    }
  }

  // [6] Through shared memory: a row's columns are in 16 lanes of one warp.
  __device__ __forceinline__ void write_probs(float* shared_p) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        shared_p[swizzled_floats<kBlockK>(y() + 8 * i, key(j) / 4) + key(j) % 4] = scores_[i][j];
      }
    }
  }

  __device__ __forceinline__ void multiply_values(const float* shared_p, const float* shared_v) {
#pragma unroll 2
    for (int chunk = 0; chunk < kBlockK / 4; ++chunk) {
      float values[4][kColumns * kWidth];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const float* from = shared_v + (4 * chunk + k) * kHeadDim + (16 * c + x()) * kWidth;
          if constexpr (kWidth == 4) {
            *reinterpret_cast<float4*>(&values[k][c * kWidth]) =
                *reinterpret_cast<const float4*>(from);
          } else {
            *reinterpret_cast<float2*>(&values[k][c * kWidth]) =
                *reinterpret_cast<const float2*>(from);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 probs = *reinterpret_cast<const float4*>(
            shared_p + swizzled_floats<kBlockK>(y() + 8 * i, chunk));
#pragma unroll
        for (int c = 0; c < kColumns * kWidth; ++c) {
          float& out = out_[i][c];
          out = fmaf(probs.x, values[0][c], out);
          out = fmaf(probs.y, values[1][c], out);
          out = fmaf(probs.z, values[2][c], out);
          out = fmaf(probs.w, values[3][c], out);
        }
      }
    }
  }

  // [7] `out` and `lse` are of query 0.
  __device__ __forceinline__ void write(float* out, int64_t stride, float* lse, int rows,
                                        int columns, float keep_scale) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = first_row_ + 8 * i;
      if (row >= rows) continue;
      const bool is_empty = row_sum_[i] == 0;  // NaN stays NaN
      if (x() == 0) lse[row] = is_empty ? -INFINITY : row_max_[i] * kLn2 + logf(row_sum_[i]);
      const float factor = is_empty ? 0 : keep_scale / row_sum_[i];
#pragma unroll
      for (int c = 0; c < kColumns * kWidth; ++c) {
        const int column = (16 * (c / kWidth) + x()) * kWidth + c % kWidth;
        if (column < columns) out[row * stride + column] = out_[i][c] * factor;
      }
    }
  }

 private:
  static __device__ __forceinline__ int x() { return static_cast<int>(threadIdx.x) % 16; }
  static __device__ __forceinline__ int y() { return static_cast<int>(threadIdx.x) / 16; }
  // Column of S that is a thread's j-th: 8 of a half tile each, in pairs k, k + 8.
  static __device__ __forceinline__ int key(int j) {
    return x() % 8 + 8 * j + x() / 8 * (kBlockK / 2);
  }

  int first_row_;
  RowLimits limits_;
  float scores_[kRows][kKeys];
  float out_[kRows][kColumns * kWidth];
  float row_max_[kRows], row_sum_[kRows];
};

template <class Config>
__global__ void __launch_bounds__(Config::kThreads)
    attention_forward_flash_fma_kernel(const __grid_constant__ AttentionForwardParams<float> p,
                                       const __grid_constant__ ForwardGrid grid) {
  constexpr int kBlockQ = Config::kBlockQ, kBlockK = Config::kBlockK;
  constexpr int kHeadDim = Config::kHeadDim, kThreads = Config::kThreads;
  extern __shared__ __align__(128) float shared_floats[];
  float* shared_q = shared_floats;
  float* shared_k = shared_q + Config::kQueryFloats;
  float* shared_p = shared_k;  // when all threads have their scores
  float* shared_v = shared_k + Config::kKeyFloats;

  const ForwardWork work = forward_work(grid, p, kBlockQ, static_cast<int>(blockIdx.x));
  if (work.sequence < 0) return;
  const AttentionDeviceSequence sequence = device_sequence(p, work.sequence);
  const Visibility& visibility = sequence.visibility;
  const int seq_q = static_cast<int>(visibility.seq_q), first_row = work.tile * kBlockQ;
  const KeyTiles tiles =
      visibility.key_tiles({first_row, min(first_row + kBlockQ, seq_q)}, kBlockK);
  const int key_begin = static_cast<int>(visibility.keys.begin);
  const int key_end = static_cast<int>(visibility.keys.end);
  const float* keys = p.k.row(sequence.batch, sequence.first_k, work.head / p.group);
  const float* values = p.v.row(sequence.batch, sequence.first_k, work.head / p.group);
  const float* bias = p.bias.data == nullptr ? nullptr : p.bias.row(sequence.batch, work.head, 0);
  const PhiloxKey philox_key = Config::kHasDropout ? p.dropout.current_key() : PhiloxKey{};

  // [1]
  load_float_tile<kBlockQ, kHeadDim, kThreads, true>(
      shared_q, p.q, p.q.row(sequence.batch, sequence.first_q, work.head), first_row,
      static_cast<int>(visibility.queries.begin), static_cast<int>(visibility.queries.end),
      p.head_dim);

  FlashForwardFmaThread<Config> thread(first_row, visibility);
  for (int tile = static_cast<int>(tiles.first); tile < tiles.last; ++tile) {
    // [2]
    if (tile > tiles.first) __syncthreads();
    load_float_tile<kBlockK, kHeadDim, kThreads, true>(shared_k, p.k, keys, tile * kBlockK,
                                                       key_begin, key_end, p.head_dim);
    load_float_tile<kBlockK, kHeadDim, kThreads, false>(shared_v, p.v, values, tile * kBlockK,
                                                        key_begin, key_end, p.head_dim);
    __syncthreads();
    thread.multiply_keys(shared_q, shared_k);
    thread.scale_and_mask(p.scale, bias, p.bias.query_stride, tile * kBlockK);
    thread.update_softmax();
    if constexpr (Config::kHasDropout) {
      thread.drop(p.dropout, philox_key, sequence.dropout_head + work.head, tile * kBlockK);
    }
    __syncthreads();
    thread.write_probs(shared_p);
    __syncwarp();
    thread.multiply_values(shared_p, shared_v);
  }

  // [7]
  float* lse = p.lse + (static_cast<int64_t>(sequence.batch) * p.heads_q + work.head) * p.seq_q +
               sequence.first_q;
  thread.write(p.out.row(sequence.batch, sequence.first_q, work.head), p.out.time_stride, lse,
               seq_q, p.head_dim, Config::kHasDropout ? p.dropout.keep_scale() : 1.0f);
}

}  // namespace strobe
