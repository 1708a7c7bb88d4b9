#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/mask.h"

namespace strobe {

// attention_decode_flash_portable
//
// Computes    the last Tq rows of a forward pass over a sequence's first L cached keys
// Shapes      q [B,Tq,Hq,D]  k,v [B,capacity,Hkv,D]  lengths [B]  →  out [B,Tq,Hq,D]
// Mapping     one CTA per (part of 1024 keys, kRows of a key/value head's G·Tq query rows); a warp
//             takes every eighth block of its part's keys; kLanes lanes hold a key, 8 numbers each
// Shared      queries as f32 · the warps' states (m, l, a) of equation (8)               (Shared)
// Steps       [1] the part's visible keys  [2] queries  [3] load a block's K and V  [4] scores
//             [5] update m, l, a  [6] join lanes  [7] join warps, write O or the part's state
// Requires    sm_75; k, v rows 16-byte aligned; head_dim ≤ 8·kLanes               (flash_decode.cu)
// Numerics    scores, m, l, a in f32, base-2 exponent with scale·log2e folded in; sums in an order
//             that a sequence's own length decides, whatever else is in the batch
// Cost        reads K and V once per kRows query rows: bandwidth-bound
//
// Equations are those of docs/attention_decode.md.

constexpr int kDecodePartKeys = 1024;
constexpr int kDecodeWarps = 8;
constexpr int kDecodeWidth = 8;  // numbers of a row that a lane holds

// Strides of a [B,T,H,D] tensor, in elements.
struct DecodeStrides {
  int64_t batch, time, head;
};

struct FlashDecodeParams {
  const void *q, *k, *v;
  void* out;
  const int32_t* lengths;
  DecodeStrides q_strides, k_strides, v_strides, out_strides;
  // The parts' states, where there are several parts: row by row (of all B·Hkv·G·Tq), part by part.
  float* part_sums;    // a of (8): D numbers
  float2* part_state;  // m in base 2, l
  int32_t seq_q, capacity, heads_kv, group, head_dim, parts, row_tiles;
  float scale_log2;
  Mask mask;

  __device__ int rows() const { return group * seq_q; }
  __device__ int query_of(int row) const { return row / group; }
  __device__ Visibility visibility(int batch) const {
    // Nobody has checked what lies in device memory.
    const int64_t length = min(max(lengths[batch], 0), capacity);
    return {
        .mask = mask, .seq_q = seq_q, .seq_k = length, .queries = {0, seq_q}, .keys = {0, length}};
  }
  // Where row `row` of a key/value head lies in q or out.
  __device__ int64_t offset(const DecodeStrides& strides, int batch, int head, int row) const {
    return batch * strides.batch + query_of(row) * strides.time +
           (head * group + row % group) * strides.head;
  }
};

// kDecodeWidth neighbours of a row. They stay as loaded, 32 bits at a time, until they are used:
// widened before, bf16 took 60 registers more.
template <class T>
struct DecodeLane {
  static constexpr int kLoads = kDecodeWidth / kVectorWidth<T>;
  static constexpr int kWordsOfLoad = 4;
  Vector<uint32_t, kWordsOfLoad> words[kLoads];

  __device__ __forceinline__ void load(const T* from) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      words[i] = load_vector<uint32_t, kWordsOfLoad>(
          reinterpret_cast<const uint32_t*>(from + i * kVectorWidth<T>));
    }
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) words[i] = {};
  }
  __device__ __forceinline__ float operator[](int i) const {
    const int place = i % kVectorWidth<T>;
    const uint32_t word = words[i / kVectorWidth<T>].element[place * sizeof(T) / sizeof(uint32_t)];
    if constexpr (sizeof(T) == sizeof(uint32_t)) {
      return __uint_as_float(word);
    } else if constexpr (dtype_of<T>() == DType::bf16) {
      return __uint_as_float(place % 2 == 0 ? word << 16 : word & 0xffff0000u);
    } else {
      return to_float(T{static_cast<uint16_t>(place % 2 == 0 ? word : word >> 16)});
    }
  }
};

template <class Q_, class Cache_, int kLanes_, int kRows_>
struct FlashDecode {
  using Q = Q_;
  using Cache = Cache_;
  static constexpr int kLanes = kLanes_;  // that hold a key
  static constexpr int kRows = kRows_;
  static constexpr int kGroups = kWarpSize / kLanes;  // keys side by side in a warp
  // Keys one after the other in a lane: 128 bytes of K and V in flight. Twice as many leave room
  // for two CTAs only: +10% of time at B=32, H=12, D=64, L=640 (H100).
  static constexpr int kSteps = kVectorWidth<Cache> / 2;
  static constexpr int kBlock = kGroups * kSteps;
  static constexpr int kWidth = kLanes * kDecodeWidth;  // head_dim, rounded up
  static constexpr int kThreads = kDecodeWarps * kWarpSize;
  static constexpr int kCtas = kRows == 1 ? 3 : 1;  // of a multiprocessor, at least

  struct Shared {
    float query[kRows][kWidth];
    float sums[kDecodeWarps][kRows][kWidth];
    float row_max[kDecodeWarps][kRows], row_sum[kDecodeWarps][kRows];
    int begin[kRows], end[kRows];  // the keys that a row sees
  };
};

// exp2(a − b) where b ≥ a; 0 where a is −∞, also when b is.
__device__ __forceinline__ float decode_weight(float a, float b) {
  return a == -INFINITY ? 0.0f : exp2f(a - b);
}

// The state of the rows at hand in one group of lanes.
template <class Kernel>
struct DecodeState {
  float row_max[Kernel::kRows];
  float row_sum[Kernel::kRows];
  float sums[Kernel::kRows][kDecodeWidth];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < Kernel::kRows; ++r) {
      row_max[r] = -INFINITY;
      row_sum[r] = 0;
#pragma unroll
      for (int i = 0; i < kDecodeWidth; ++i) sums[r][i] = 0;
    }
  }

  // Adds the keys of a block to row r: equations (4) and (5) of attention_forward.md.
  __device__ __forceinline__ void update(
      int r, const float (&scores)[Kernel::kSteps],
      const DecodeLane<typename Kernel::Cache> (&values)[Kernel::kSteps]) {
    float largest = row_max[r];
#pragma unroll
    for (int j = 0; j < Kernel::kSteps; ++j) largest = fmaxf(largest, scores[j]);
    const float rescale = decode_weight(row_max[r], largest);
    row_max[r] = largest;
    row_sum[r] *= rescale;
#pragma unroll
    for (int i = 0; i < kDecodeWidth; ++i) sums[r][i] *= rescale;
#pragma unroll
    for (int j = 0; j < Kernel::kSteps; ++j) {
      const float prob = decode_weight(scores[j], largest);
      row_sum[r] += prob;
#pragma unroll
      for (int i = 0; i < kDecodeWidth; ++i) sums[r][i] = fmaf(prob, values[j][i], sums[r][i]);
    }
  }

  // Every group of lanes gets the state of the warp: equation (9) without its division.
  __device__ __forceinline__ void join_groups(int r) {
    float largest = row_max[r];
#pragma unroll
    for (int offset = Kernel::kLanes; offset < kWarpSize; offset *= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, offset));
    }
    const float weight = decode_weight(row_max[r], largest);
    row_max[r] = largest;
    row_sum[r] *= weight;
#pragma unroll
    for (int i = 0; i < kDecodeWidth; ++i) sums[r][i] *= weight;
#pragma unroll
    for (int offset = Kernel::kLanes; offset < kWarpSize; offset *= 2) {
      row_sum[r] += __shfl_xor_sync(kFullWarp, row_sum[r], offset);
#pragma unroll
      for (int i = 0; i < kDecodeWidth; ++i) {
        sums[r][i] += __shfl_xor_sync(kFullWarp, sums[r][i], offset);
      }
    }
  }
};

// All keys that the warp has to look at.
template <class Kernel>
__device__ __forceinline__ void decode_keys(const FlashDecodeParams& params,
                                            const typename Kernel::Shared& shared, Span keys,
                                            const typename Kernel::Cache* k,
                                            const typename Kernel::Cache* v,
                                            DecodeState<Kernel>& state) {
  constexpr int kSteps = Kernel::kSteps, kBlock = Kernel::kBlock;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const int group = lane / Kernel::kLanes, column = lane % Kernel::kLanes * kDecodeWidth;
  const bool has_column = column < params.head_dim;
  // Blocks are counted from the sequence's first key, so that a window does not shift them.
  const int begin = static_cast<int>(keys.begin), end = static_cast<int>(keys.end);
  const int first = begin / kBlock;
  const int skipped = (warp - first % kDecodeWarps + kDecodeWarps) % kDecodeWarps;
  for (int block = (first + skipped) * kBlock; block < end; block += kDecodeWarps * kBlock) {
    // [3] load a block's K and V
    DecodeLane<typename Kernel::Cache> key[kSteps], value[kSteps];
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      const int position = block + j * Kernel::kGroups + group;
      if (has_column && position >= begin && position < end) {
        key[j].load(k + position * params.k_strides.time + column);
        value[j].load(v + position * params.v_strides.time + column);
      } else {
        key[j].clear();
        value[j].clear();
      }
    }
#pragma unroll
    for (int r = 0; r < Kernel::kRows; ++r) {
      // [4] scores
      float query[kDecodeWidth], scores[kSteps];
#pragma unroll
      for (int i = 0; i < kDecodeWidth; ++i) query[i] = shared.query[r][column + i];
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < kDecodeWidth; ++i) dot = fmaf(query[i], key[j][i], dot);
        scores[j] = reduce_warp<Sum, Kernel::kLanes>(dot) * params.scale_log2;
        const int position = block + j * Kernel::kGroups + group;
        const bool is_visible = position >= shared.begin[r] && position < shared.end[r];
        scores[j] = is_visible ? scores[j] : -INFINITY;
      }
      // [5] update m, l, a
      state.update(r, scores, value);
    }
  }
}

template <class Kernel>
__global__ __launch_bounds__(
    Kernel::kThreads,
    Kernel::kCtas) void attention_decode_flash_portable_kernel(const FlashDecodeParams params) {
  extern __shared__ __align__(16) char s_memory[];
  auto& shared = *reinterpret_cast<typename Kernel::Shared*>(s_memory);
  int64_t index = blockIdx.x;
  const int row_begin = static_cast<int>(index % params.row_tiles) * Kernel::kRows;
  index /= params.row_tiles;
  const int part = static_cast<int>(index % params.parts);
  index /= params.parts;
  const int head = static_cast<int>(index % params.heads_kv);
  const int batch = static_cast<int>(index / params.heads_kv);
  const int rows = min(Kernel::kRows, params.rows() - row_begin);

  // [1] the part's visible keys
  const Visibility visibility = params.visibility(batch);
  const Span all = visibility.queries_of(visibility.keys);
  const int64_t first_row = max(all.begin, int64_t{params.query_of(row_begin)});
  const int64_t last_row = min(all.end - 1, int64_t{params.query_of(row_begin + rows - 1)});
  Span keys;
  if (first_row <= last_row) {
    keys = {max(visibility.keys_of(first_row).begin, int64_t{part} * kDecodePartKeys),
            min(visibility.keys_of(last_row).end, int64_t{part + 1} * kDecodePartKeys)};
  }
  if (params.parts > 1 && keys.empty()) return;  // nobody reads its state

  // [2] queries
  const auto* q = static_cast<const typename Kernel::Q*>(params.q);
  for (int i = threadIdx.x; i < Kernel::kRows * Kernel::kWidth; i += Kernel::kThreads) {
    const int r = i / Kernel::kWidth, column = i % Kernel::kWidth;
    const bool is_there = r < rows && column < params.head_dim;
    shared.query[r][column] =
        is_there ? to_float(q[params.offset(params.q_strides, batch, head, row_begin + r) + column])
                 : 0.0f;
  }
  for (int r = threadIdx.x; r < Kernel::kRows; r += Kernel::kThreads) {
    const Span seen = r < rows ? visibility.keys_of(params.query_of(row_begin + r)) : Span{0, 0};
    shared.begin[r] = static_cast<int>(seen.begin);
    shared.end[r] = static_cast<int>(seen.end);
  }
  __syncthreads();

  DecodeState<Kernel> state;
  state.clear();
  const auto* k = static_cast<const typename Kernel::Cache*>(params.k);
  const auto* v = static_cast<const typename Kernel::Cache*>(params.v);
  decode_keys<Kernel>(params, shared, keys,
                      k + batch * params.k_strides.batch + head * params.k_strides.head,
                      v + batch * params.v_strides.batch + head * params.v_strides.head, state);

  // [6] join lanes
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int r = 0; r < Kernel::kRows; ++r) {
    state.join_groups(r);
    if (lane < Kernel::kLanes) {
#pragma unroll
      for (int i = 0; i < kDecodeWidth; ++i) {
        shared.sums[warp][r][lane * kDecodeWidth + i] = state.sums[r][i];
      }
    }
    if (lane == 0) {
      shared.row_max[warp][r] = state.row_max[r];
      shared.row_sum[warp][r] = state.row_sum[r];
    }
  }
  __syncthreads();

  // [7] join warps, write O or the part's state
  const int64_t first_state = (int64_t{batch} * params.heads_kv + head) * params.rows() + row_begin;
  for (int i = threadIdx.x; i < rows * params.head_dim; i += Kernel::kThreads) {
    const int r = i / params.head_dim, column = i % params.head_dim;
    float largest = -INFINITY, total = 0, sum = 0;
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) largest = fmaxf(largest, shared.row_max[w][r]);
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = decode_weight(shared.row_max[w][r], largest);
      total = fmaf(weight, shared.row_sum[w][r], total);
      sum = fmaf(weight, shared.sums[w][r][column], sum);
    }
    if (params.parts == 1) {
      auto* out = static_cast<typename Kernel::Q*>(params.out);
      out[params.offset(params.out_strides, batch, head, row_begin + r) + column] =
          from_float<typename Kernel::Q>(total == 0 ? 0.0f : sum / total);
    } else {
      const int64_t at = (first_state + r) * params.parts + part;
      params.part_sums[at * params.head_dim + column] = sum;
      if (column == 0) params.part_state[at] = make_float2(largest, total);
    }
  }
}

// attention_decode_join_flash_portable
//
// Computes    out = Σ_p w_p a_p / Σ_p w_p l_p,  w_p = exp2(m_p − max m)                        (9)
// Shapes      states of [B·Hkv·G·Tq rows, parts]  →  out [B,Tq,Hq,D]
// Mapping     one CTA per row, a thread per number of head_dim
// Shared      none
// Steps       [1] the parts that the row sees  [2] their maximum  [3] the sums, in their order
// Requires    sm_75
// Numerics    f32
// Cost        reads D + 2 numbers for each part
template <class Q>
__global__ void attention_decode_join_flash_portable_kernel(const FlashDecodeParams params) {
  const int64_t index = blockIdx.x;
  const int row = static_cast<int>(index % params.rows());
  const int head = static_cast<int>(index / params.rows() % params.heads_kv);
  const int batch = static_cast<int>(index / params.rows() / params.heads_kv);
  const int column = threadIdx.x;
  if (column >= params.head_dim) return;
  // [1] the parts that the row sees
  const Span keys = params.visibility(batch).keys_of(params.query_of(row));
  const int64_t first = index * params.parts + keys.begin / kDecodePartKeys;
  const int64_t last = index * params.parts + (keys.end + kDecodePartKeys - 1) / kDecodePartKeys;
  // [2] their maximum
  float largest = -INFINITY, total = 0, sum = 0;
  for (int64_t at = first; at < last; ++at) largest = fmaxf(largest, params.part_state[at].x);
  // [3] the sums, in their order
  for (int64_t at = first; at < last; ++at) {
    const float2 state = params.part_state[at];
    const float weight = decode_weight(state.x, largest);
    total = fmaf(weight, state.y, total);
    sum = fmaf(weight, params.part_sums[at * params.head_dim + column], sum);
  }
  static_cast<Q*>(params.out)[params.offset(params.out_strides, batch, head, row) + column] =
      from_float<Q>(total == 0 ? 0.0f : sum / total);
}

}  // namespace strobe
