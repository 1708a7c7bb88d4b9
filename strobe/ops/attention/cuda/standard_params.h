#pragma once

#include <cstdint>

#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// The scores of some heads at a time, as cuda_standard's kernels see them: for every pair of a
// sequence and a query head a matrix [Tq, row_stride], of which Tk columns are scores. Pairs lie in
// the order of sequences and heads.
struct ScoreMatrices {
  int first_sequence = 0;
  int first_head = 0, heads = 0;  // of every sequence of these
  int pairs = 0;
  int64_t row_stride = 0;  // Tk, rounded up to whole vectors of kScoreVector
  int64_t pair_stride = 0;
};
constexpr int kScoreVector = 8;  // neighbours in a row that one thread holds

template <class T>
struct StandardSoftmaxParams {
  AttentionCall<T> call;
  ScoreMatrices shape;
  const float* scores = nullptr;  // q·k
  T* probs = nullptr;    // eq. 3, with the sign bit set where dropout takes it; null: not kept
  T* weights = nullptr;  // Z∘P of eq. 4; null: `probs` will do. May be `scores` itself
  float* lse = nullptr;  // [B, Hq, Tq]
};

template <class T>
struct StandardGradientParams {
  AttentionCall<T> call;
  ScoreMatrices shape;
  const T* probs = nullptr;       // as the softmax left them
  const float* dprobs = nullptr;  // dout·v
  T* dscores = nullptr;           // P∘(Z∘dprobs − Δ); may be `dprobs` itself
  T* weights = nullptr;           // Z∘P; null: no dropout
};

}  // namespace strobe
