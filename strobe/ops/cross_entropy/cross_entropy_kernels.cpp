// cross_entropy
//
// Computes    loss = ln Σ_j exp(x_j) − x_label;  x_j := scale·(exp(x_j)/Σ − [j = label])
// Mapping     one thread, one row
// Steps       [1] one pass for maximum and sum, each lane with its own running maximum: a block of
//             vectors is read for its maximum and again (from L1) for its exponentials, so that the
//             sum is rescaled once for a block  [2] merge the lanes  [3] one pass for the gradient
// Numerics    f32; exponents are differences to the maximum; NaN and +∞ anywhere give a NaN loss
#include "strobe/ops/cross_entropy/cross_entropy_kernels.h"

#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr int kBlock = 16 * kLanes;          // elements of one rescaling
constexpr float kLowest = -0x1.fffffep127f;  // finite, so that differences are never NaN

struct RunningSoftmax {
  F32 largest = broadcast(kLowest);
  F32 sum = zero();
};

template <class T>
STROBE_INLINE void add_block(RunningSoftmax& state, const T* x, int64_t count) {
  F32 largest = state.largest;
  for_vectors(count, [&](int64_t i, auto lanes) {
    largest = max(largest, lanes.or_else(lanes.load(x + i), kLowest));
  });
  F32 sum = state.sum * exp(state.largest - largest);
  for_vectors(count, [&](int64_t i, auto lanes) {
    sum += lanes.or_else(exp(lanes.load(x + i) - largest), 0);
  });
  state = {largest, sum};
}

template <class T>
float row(T* logits, int64_t vocab, int32_t label, float gradient_scale) {
  RunningSoftmax state;  // [1]
  int64_t begin = 0;
  for (; begin + kBlock <= vocab; begin += kBlock) add_block(state, logits + begin, kBlock);
  if (begin < vocab) add_block(state, logits + begin, vocab - begin);

  const float largest = max_lanes(state.largest);  // [2]
  const float sum = sum_lanes(state.sum * exp(state.largest - broadcast(largest)));
  float label_lanes[kLanes];
  store(label_lanes, load_partial(logits + label, 1));
  const float label_logit = label_lanes[0];
  const float loss = __builtin_logf(sum) + (largest - label_logit);
  if (gradient_scale == 0) return loss;

  const F32 scale = broadcast(gradient_scale / sum);  // [3]
  for_vectors(vocab, [&](int64_t i, auto lanes) {
    lanes.store(logits + i, exp(lanes.load(logits + i) - broadcast(largest)) * scale);
  });
  const F32 label_gradient =
      exp(broadcast(label_logit - largest)) * scale - broadcast(gradient_scale);
  store_partial(logits + label, label_gradient, 1);
  return loss;
}

}  // namespace

constinit const KernelTable<CrossEntropyKernels> cross_entropy_kernels = {{&row<float>},
                                                                          {&row<bf16>}};

}  // namespace strobe::STROBE_ISA
