// standard_kernels
//
// Computes    P = softmax(scale·S + bias) over the visible keys, Z∘P, L   docs/attention_forward.md
//             dS = P ∘ (Z∘dP − Δ)·scale,   Δ = rowsum(dO∘O)         docs/attention_backward.md
// Shapes      rows of [Tq, Tk] matrices in memory: S and dP f32; P, Z∘P and dS in the compute type
// Mapping     up to 16 rows a call, one row at a time; a row is read three times, from L1 or L2
// Numerics    all in f32; P, Z∘P and dS rounded once, where they are written
#include "strobe/ops/attention/cpu/standard_kernels.h"

#include "strobe/ops/attention/cpu/flash_dropout.h"
#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr float kLog2OfE = 1.44269504f;
constexpr float kLogOf2 = 0.693147181f;

template <class T>
STROBE_INLINE T* row_of(void* matrix, int64_t stride, int r) {
  return static_cast<T*>(matrix) + r * stride;
}
template <class T>
STROBE_INLINE const T* row_of(const void* matrix, int64_t stride, int r) {
  return static_cast<const T*>(matrix) + r * stride;
}

// Everything outside [begin, end) to zero: what no query sees takes part in the products.
template <class T>
STROBE_INLINE void clear_hidden(T* row, int64_t begin, int64_t end, int64_t keys) {
  std::memset(row, 0, begin * sizeof(T));
  std::memset(row + end, 0, (keys - end) * sizeof(T));
}

// The dropout decisions of a stripe, one bit an element.
class Survivors {
 public:
  explicit Survivors(const ScoreStripe& s) : masks_(s.masks), stride_(s.mask_stride) {
    if (s.dropout.threshold == 0) return;
    // Row 0 need not be the first of its block of 16: the masks of the block begin above it.
    const auto row_block = static_cast<uint32_t>(s.first_query / kDropoutBlock);
    const auto key_block = static_cast<uint32_t>(s.first_key / kDropoutBlock);
    const int64_t blocks =
        (s.first_key % kDropoutBlock + s.keys + kDropoutBlock - 1) / kDropoutBlock;
    for (int64_t b = 0; b < blocks; ++b) {
      dropout_block(s.dropout, row_block, key_block + static_cast<uint32_t>(b), masks_ + b,
                    stride_);
    }
    row_shift_ = static_cast<int>(s.first_query % kDropoutBlock);
    key_shift_ = static_cast<int>(s.first_key % kDropoutBlock);
  }

  // x where element (row, column) and those after it survive, else 0.
  STROBE_INLINE F32 keep(int row, int64_t column, F32 x) const {
    const int64_t bit = column + key_shift_;
    uint64_t bits;
    std::memcpy(&bits,
                reinterpret_cast<const char*>(masks_ + (row + row_shift_) * stride_) + bit / 8,
                sizeof(bits));
    return keep_lanes(static_cast<uint32_t>(bits >> (bit % 8)), x);
  }

 private:
  uint16_t* masks_;
  int64_t stride_;
  int row_shift_ = 0, key_shift_ = 0;
};

struct RowSums {
  float max;  // of the scores in base 2: s·scale·log2 e (+ bias·log2 e)
  float sum;  // of 2^(score − max); 0 only when every key is hidden
};

// Leaves 2^(score − max) in the row's visible part, `count` elements.
template <bool kHasBias>
STROBE_INLINE RowSums exponentiate(float* scores, const float* bias, float factor, int64_t count) {
  const float lowest = -__builtin_inff();
  const auto base2 = [&](int64_t j, auto lanes) {
    const F32 scaled = lanes.load(scores + j) * broadcast(factor);
    if constexpr (!kHasBias) return scaled;
    return fma(lanes.load(bias + j), broadcast(kLog2OfE), scaled);
  };
  F32 maxima = broadcast(lowest);
  for_vectors(count, [&](int64_t j, auto lanes) {
    maxima = max(maxima, lanes.or_else(base2(j, lanes), lowest));
  });
  const float row_max = max_lanes(maxima);
  if (row_max == lowest) return {lowest, 0};
  const float sum = sum_vectors(count, [&](int64_t j, auto lanes) {
    const F32 e = exp2(base2(j, lanes) - broadcast(row_max));
    lanes.store(scores + j, e);
    return lanes.or_else(e, 0);
  });
  return {row_max, sum};
}

template <class T, bool kHasDropout>
STROBE_INLINE void softmax_row(const SoftmaxStripe& task, const Survivors& survivors, int r) {
  const ScoreStripe& s = task.stripe;
  const float* bias = s.bias == nullptr ? nullptr : s.bias + r * s.bias_stride + s.begin[r];
  float* scores = task.scores + r * task.scores_stride + s.begin[r];
  const int64_t count = s.end[r] - s.begin[r];
  const float factor = s.scale * kLog2OfE;
  const RowSums row = bias != nullptr ? exponentiate<true>(scores, bias, factor, count)
                                      : exponentiate<false>(scores, bias, factor, count);
  const bool is_empty = row.sum == 0;  // a NaN is not: it goes on into the output
  const int64_t begin = is_empty ? 0 : s.begin[r], end = is_empty ? 0 : s.end[r];
  task.lse[r] = is_empty ? row.max : (row.max + __builtin_log2f(row.sum)) * kLogOf2;

  T* probs = row_of<T>(task.probs, task.probs_stride, r);
  T* dropped = row_of<T>(task.dropped, task.dropped_stride, r);
  const F32 inverse = broadcast(1 / row.sum);
  const F32 kept = inverse * broadcast(s.dropout.keep_scale);
  for_vectors(end - begin, [&](int64_t j, auto lanes) {
    const F32 e = lanes.load(scores + j);  // before a store that may overwrite it
    if (task.probs != nullptr) lanes.store(probs + begin + j, e * inverse);
    if constexpr (kHasDropout) {
      lanes.store(dropped + begin + j, survivors.keep(r, begin + j, e * kept));
    }
  });
  if (task.probs != nullptr) clear_hidden(probs, begin, end, s.keys);
  if constexpr (kHasDropout) clear_hidden(dropped, begin, end, s.keys);
}

template <class T>
void softmax(const SoftmaxStripe& task) {
  const Survivors survivors(task.stripe);
  const bool has_dropout = task.stripe.dropout.threshold != 0;
  for (int r = 0; r < task.stripe.rows; ++r) {
    has_dropout ? softmax_row<T, true>(task, survivors, r)
                : softmax_row<T, false>(task, survivors, r);
  }
}

template <class T, bool kHasDropout>
STROBE_INLINE void softmax_backward_row(const SoftmaxBackwardStripe& task,
                                        const Survivors& survivors, int r) {
  const ScoreStripe& s = task.stripe;
  const T* out = row_of<T>(task.out, task.out_stride, r);
  const T* dout = row_of<T>(task.dout, task.dout_stride, r);
  const F32 delta = broadcast(sum_vectors(task.head_dim, [&](int64_t d, auto lanes) {
    return lanes.load(out + d) * lanes.load(dout + d);
  }));
  const int64_t begin = s.begin[r], end = s.end[r];
  const T* probs = row_of<T>(task.probs, task.probs_stride, r) + begin;
  const float* dprobs = task.dprobs + r * task.dprobs_stride + begin;
  T* dscores = row_of<T>(task.dscores, task.dscores_stride, r);
  float* dbias = task.dbias == nullptr ? nullptr : task.dbias + r * task.dbias_stride + begin;
  const F32 scale = broadcast(s.scale), keep_scale = broadcast(s.dropout.keep_scale);
  for_vectors(end - begin, [&](int64_t j, auto lanes) {
    F32 dprob = lanes.load(dprobs + j);
    if constexpr (kHasDropout) dprob = survivors.keep(r, begin + j, dprob * keep_scale);
    const F32 prob = lanes.load(probs + j), change = dprob - delta;
    if (dbias != nullptr) lanes.store(dbias + j, fma(prob, change, lanes.load(dbias + j)));
    lanes.store(dscores + begin + j, prob * scale * change);
  });
  clear_hidden(dscores, begin, end, s.keys);
}

template <class T>
void softmax_backward(const SoftmaxBackwardStripe& task) {
  const Survivors survivors(task.stripe);
  const bool has_dropout = task.stripe.dropout.threshold != 0;
  for (int r = 0; r < task.stripe.rows; ++r) {
    has_dropout ? softmax_backward_row<T, true>(task, survivors, r)
                : softmax_backward_row<T, false>(task, survivors, r);
  }
}

template <class T>
void drop(const DropStripe& task) {
  const ScoreStripe& s = task.stripe;
  const Survivors survivors(s);
  const F32 keep_scale = broadcast(s.dropout.keep_scale);
  for (int r = 0; r < s.rows; ++r) {
    const T* probs = row_of<T>(task.probs, task.probs_stride, r);
    T* dropped = row_of<T>(task.dropped, task.dropped_stride, r);
    for_vectors(s.keys, [&](int64_t j, auto lanes) {
      const F32 prob = lanes.load(probs + j) * keep_scale;
      lanes.store(dropped + j, survivors.keep(r, j, prob));
    });
  }
}

}  // namespace

constinit const KernelTable<StandardKernels> standard_kernels = {
    {&softmax<float>, &softmax_backward<float>, &drop<float>},
    {&softmax<bf16>, &softmax_backward<bf16>, &drop<bf16>},
};

}  // namespace strobe::STROBE_ISA
