// The decode pass: few queries against a long cache, so that reading k and v once, at the speed of
// memory, is all that counts. Every score and every sum is made in one order that depends on the
// keys alone, not on how many queries, heads or sequences there are.
#include "strobe/ops/attention/cpu/decode_kernels.h"

#include "strobe/ops/attention/cpu/flash_softmax.h"
#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"
#include "strobe/simd/reduce.h"

namespace strobe::STROBE_ISA {
namespace {

// sums[i] = the lanes of q·k[i], not yet added up.
template <int kKeys, class Q, class C>
STROBE_INLINE void multiply_keys(const Q* q, const C* k, int64_t stride, int head_dim, F32* sums) {
  F32 sum[kKeys] = {};
  for_vectors(head_dim, [&](int64_t d, auto lanes) {
    const F32 x = lanes.load(q + d);
    for (int i = 0; i < kKeys; ++i) sum[i] = fma(x, lanes.load(k + i * stride + d), sum[i]);
  });
  for (int i = 0; i < kKeys; ++i) sums[i] = sum[i];
}

// Rows of k or v that are read one after another, and those that follow: they are asked for some
// time ahead, because what a head has of a sequence is in runs too short for the processor to find
// out by itself. Nothing is asked for where other rows of q have just read the same.
template <class C>
struct RowStream {
  const C* rows;
  int64_t stride;
  int count;
  const C* next = nullptr;  // read after these, or null
  int64_t next_stride = 0;
  bool is_cached = false;

  STROBE_INLINE void prefetch(int row, int column, int columns, int head_dim) const {
    constexpr int kBytesAhead = 4096, kLine = 64 / sizeof(C);
    if (is_cached) return;
    const int ahead = row + kBytesAhead / (head_dim * static_cast<int>(sizeof(C)));
    if (ahead >= count && next == nullptr) return;
    const C* p = ahead < count ? rows + ahead * stride : next + (ahead - count) * next_stride;
    for (int d = 0; d < columns; d += kLine) __builtin_prefetch(p + column + d, 0, 3);
  }
};

// scores = q·k; writes whole vectors.
template <class Q, class C>
STROBE_INLINE void multiply(const Q* q, const RowStream<C>& k, int head_dim, float* scores) {
  constexpr int kKeys = 4;
  for (int j = 0; j < k.count; j += kLanes) {
    F32 sums[kLanes] = {};
    const int keys = smaller(kLanes, k.count - j);
    for (int i = 0; i < keys; ++i) k.prefetch(j + i, 0, head_dim, head_dim);
    const C* rows = k.rows + j * k.stride;
    int i = 0;
    for (; i + kKeys <= keys; i += kKeys) {
      multiply_keys<kKeys>(q, rows + i * k.stride, k.stride, head_dim, sums + i);
    }
    for (; i < keys; ++i) {
      multiply_keys<1>(q, rows + i * k.stride, k.stride, head_dim, sums + i);
    }
    store(scores + j, sum_each(sums));
  }
}

// sums = sums·factor + Σ probs[j]·v[j] for kVectors vectors of columns from `column` on.
template <int kVectors, class C, class Lanes>
STROBE_INLINE void weigh_columns(const float* probs, const RowStream<C>& v, int column,
                                 int head_dim, float factor, float* sums, Lanes lanes) {
  F32 sum[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    sum[i] = lanes.load(sums + column + i * kLanes) * broadcast(factor);
  }
  for (int j = 0; j < v.count; ++j) {
    v.prefetch(j, column, kVectors * kLanes, head_dim);
    const F32 prob = broadcast(probs[j]);
    const C* row = v.rows + j * v.stride + column;
    for (int i = 0; i < kVectors; ++i) sum[i] = fma(prob, lanes.load(row + i * kLanes), sum[i]);
  }
  for (int i = 0; i < kVectors; ++i) lanes.store(sums + column + i * kLanes, sum[i]);
}

template <class C>
STROBE_INLINE void weigh_values(const float* probs, const RowStream<C>& v, int head_dim,
                                float factor, float* sums) {
  int d = 0;
  for (; d + 8 * kLanes <= head_dim; d += 8 * kLanes) {
    weigh_columns<8>(probs, v, d, head_dim, factor, sums, WholeVector{});
  }
  for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes) {
    weigh_columns<4>(probs, v, d, head_dim, factor, sums, WholeVector{});
  }
  for (; d + kLanes <= head_dim; d += kLanes) {
    weigh_columns<1>(probs, v, d, head_dim, factor, sums, WholeVector{});
  }
  if (d < head_dim) {
    weigh_columns<1>(probs, v, d, head_dim, factor, sums, PartialVector{head_dim - d});
  }
}

STROBE_INLINE float exp2_of(float x) { return exp2(broadcast(x))[0]; }

// Takes the keys whose scores, unscaled, are given into a row's state: eq. 6, with a tile as B.
template <class C>
STROBE_INLINE void visit_tile(float* scores, float scale, const RowStream<C>& v, int head_dim,
                              float* sums, float* stats) {
  constexpr float kLowest = -3.40282347e38f;  // not −∞: its difference with itself is NaN
  const int count = v.count;
  const F32 factor = broadcast(scale * kLog2e);
  F32 maxima = broadcast(kLowest);
  for_vectors(count, [&](int64_t j, auto lanes) {
    maxima = max(maxima, lanes.or_else(lanes.load(scores + j) * factor, kLowest));
  });
  const float tile_max = max_lanes(maxima);
  const float row_max = stats[0] > tile_max ? stats[0] : tile_max;
  const F32 shift = broadcast(row_max);
  const float tile_sum = sum_vectors(count, [&](int64_t j, auto lanes) {
    const F32 prob = exp2(lanes.load(scores + j) * factor - shift);
    lanes.store(scores + j, prob);
    return lanes.or_else(prob, 0);
  });
  const float rescale = exp2_of(stats[0] - row_max);
  stats[0] = row_max;
  stats[1] = stats[1] * rescale + tile_sum;
  weigh_values(scores, v, head_dim, rescale, sums);
}

template <class T>
STROBE_INLINE const T* row_at(FlashRows rows, int64_t row) {
  return static_cast<const T*>(rows.data) + row * rows.stride;
}

// Calls body(r, q, keys) for each row: its number, its query, and which of the keys [begin, end) it
// sees.
template <class Q, class Body>
STROBE_INLINE void for_rows(const DecodeTask& task, int begin, int end, const Body& body) {
  for (int head = 0; head < task.group; ++head) {
    for (int i = 0; i < task.queries; ++i) {
      const Interval keys = {larger(begin, task.visible.begin[i]),
                             smaller(end, task.visible.end[i])};
      if (keys.empty()) continue;
      body(head * task.queries + i, row_at<Q>(task.q, i) + head * task.q_head_stride, keys);
    }
  }
}

template <class Q, class C>
void flash(const DecodeTask& task, const DecodeState& state) {
  for (int r = 0; r < task.group * task.queries; ++r) {
    float* stats = state.stats + r * state.stats_step;
    stats[0] = -__builtin_inff();
    stats[1] = 0;
    for_vectors(task.head_dim, [&](int64_t d, auto lanes) {
      lanes.store(state.sums + r * state.sums_step + d, zero());
    });
  }
  for (int begin = task.begin, end; begin < task.end; begin = end) {
    end = smaller((begin / kDecodeTile + 1) * kDecodeTile, task.end);
    for_rows<Q>(task, begin, end, [&](int r, const Q* q, Interval keys) {
      float scores[kDecodeTile];
      const int count = keys.end - keys.begin;
      const C *k = row_at<C>(task.k, keys.begin), *v = row_at<C>(task.v, keys.begin);
      const C* next_k = end < task.end ? row_at<C>(task.k, end) : nullptr;
      multiply(q, RowStream<C>{k, task.k.stride, count, v, task.v.stride, r > 0}, task.head_dim,
               scores);
      visit_tile(scores, task.scale,
                 RowStream<C>{v, task.v.stride, count, next_k, task.k.stride, r > 0}, task.head_dim,
                 state.sums + r * state.sums_step, state.stats + r * state.stats_step);
    });
  }
}

template <class Q>
void merge(const float* sums, const float* stats, int count, int head_dim, void* out) {
  float row_max = -__builtin_inff(), row_sum = 0;
  for (int i = 0; i < count; ++i) row_max = stats[2 * i] > row_max ? stats[2 * i] : row_max;
  float weights[kMostDecodeParts];
  for (int i = 0; i < count; ++i) {
    const bool is_empty = stats[2 * i] == -__builtin_inff();  // perhaps row_max is −∞ as well
    weights[i] = is_empty ? 0 : exp2_of(stats[2 * i] - row_max);
    row_sum += stats[2 * i + 1] * weights[i];
  }
  const F32 inverse = broadcast(row_sum == 0 ? 0 : 1 / row_sum);  // a NaN goes on into the output
  for_vectors(head_dim, [&](int64_t d, auto lanes) {
    F32 sum = zero();
    for (int i = 0; i < count; ++i) {
      sum = fma(broadcast(weights[i]), lanes.load(sums + int64_t{i} * head_dim + d), sum);
    }
    lanes.store(static_cast<Q*>(out) + d, sum * inverse);
  });
}

template <class Q, class C>
void scores(const DecodeTask& task, float* all_scores, int64_t step) {
  for_rows<Q>(task, task.begin, task.end, [&](int r, const Q* q, Interval keys) {
    float row[kDecodeTile];
    const int count = keys.end - keys.begin;
    multiply(q, RowStream<C>{row_at<C>(task.k, keys.begin), task.k.stride, count}, task.head_dim,
             row);
    for_vectors(count, [&](int64_t j, auto lanes) {
      lanes.store(all_scores + r * step + keys.begin + j, lanes.load(row + j));
    });
  });
}

template <class Q, class C>
void weigh(const float* probs, FlashRows v, int64_t count, int head_dim, void* out) {
  constexpr int kLargestHeadDim = 256;
  float sums[kLargestHeadDim] = {};
  const RowStream<C> rows = {static_cast<const C*>(v.data), v.stride, static_cast<int>(count)};
  weigh_values(probs, rows, head_dim, 0, sums);
  for_vectors(head_dim, [&](int64_t d, auto lanes) {
    lanes.store(static_cast<Q*>(out) + d, lanes.load(sums + d));
  });
}

template <class Q, class C>
constexpr DecodeKernels kernels_of() {
  return {&flash<Q, C>, &merge<Q>, &scores<Q, C>, &weigh<Q, C>};
}

}  // namespace

constinit const DecodeKernelTable decode_kernels = {
    .f32_f32 = kernels_of<float, float>(),
    .f32_f16 = kernels_of<float, f16>(),
    .f32_bf16 = kernels_of<float, bf16>(),
    .bf16_bf16 = kernels_of<bf16, bf16>(),
};

}  // namespace strobe::STROBE_ISA
