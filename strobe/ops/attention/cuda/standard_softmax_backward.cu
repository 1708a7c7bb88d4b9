// attention_softmax_backward_standard
//
// Computes    dS = P∘(Z∘dP − Δ),   Δ = Σ P∘Z∘dP over the row           docs/attention_backward.md
// Shapes      dP [pairs, Tq, row_stride] f32;  P, Z∘P, dS the same in T
// Mapping     a row by a warp (up to 1024 keys) or a block, in registers; a longer one in tiles
//             that are read again
// Steps       [1] P, Z∘dP and Δ  [2] dS, Z∘P
// Requires    sm_75; rows aligned to 16 bytes                       (standard.cu lays them out so)
// Numerics    f32 throughout; Z∘P and dS rounded once, where they are written. The sign of a P in
//             memory says that dropout takes the element
// Cost        reads 4 + sizeof(T) bytes a score, writes sizeof(T) for each of dS and Z∘P; hidden
//             scores are not read
#include "strobe/ops/attention/cuda/standard_rows.cuh"
#include "strobe/ops/attention/cuda/standard_softmax.h"

namespace strobe {
namespace {

// One vector of a row of P, with its signs, and of Z∘dP; zeros where hidden.
template <class T>
__device__ __forceinline__ void load_gradients(const T* probs, const float* dprobs,
                                               const Dropout& dropout, const ScoreRow& row,
                                               int column, float (&prob)[kScoreVector],
                                               float (&dprob)[kScoreVector]) {
  if (!sees_any(row, column)) {
    set_all(prob, 0);
    return set_all(dprob, 0);
  }
  load_scores(probs + column, prob);
  load_scores(dprobs + column, dprob);
  if (!sees_all(row, column)) {
    set_hidden(row, column, 0, prob);
    set_hidden(row, column, 0, dprob);
  }
  if (dropout.threshold == 0) return;
#pragma unroll
  for (int i = 0; i < kScoreVector; ++i) {
    dprob[i] = signbit(prob[i]) ? 0 : dprob[i] * dropout.keep_scale();
  }
}

template <class Layout, class T>
__global__ void __launch_bounds__(Layout::kBlock, Layout::kBlocksPerSm)
    attention_softmax_backward_standard_kernel(const StandardGradientParams<T> p) {
  constexpr int kVectors = Layout::kVectors;
  __shared__ float sums[kWarpSize];
  const AttentionCall<T>& call = p.call;
  const int64_t index =
      static_cast<int64_t>(blockIdx.x) * Layout::kRowsPerBlock + threadIdx.x / Layout::kThreads;
  const auto pair = static_cast<int>(index / call.seq_q), t = static_cast<int>(index % call.seq_q);
  if (pair >= p.shape.pairs) return;
  const int batch = p.shape.first_sequence + pair / p.shape.heads;
  const int head = p.shape.first_head + pair % p.shape.heads;
  const ScoreRow row = score_row(call, batch, head, t);
  const int64_t offset = pair * p.shape.pair_stride + t * p.shape.row_stride;
  const bool is_one_tile = call.seq_k <= Layout::kTile;
  float prob[kVectors][kScoreVector], dprob[kVectors][kScoreVector];
  const auto load = [&](int tile) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      load_gradients(p.probs + offset, p.dprobs + offset, call.dropout, row,
                     Layout::column(tile, v), prob[v], dprob[v]);
    }
  };

  // [1]
  float delta = 0;
  for (int tile = 0; tile < call.seq_k; tile += Layout::kTile) {
    load(tile);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kScoreVector; ++i) delta = fmaf(fabsf(prob[v][i]), dprob[v][i], delta);
    }
  }
  delta = Layout::template reduce<Sum>(delta, sums);

  // [2]
  for (int tile = 0; tile < p.shape.row_stride; tile += Layout::kTile) {
    if (!is_one_tile) load(tile);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = Layout::column(tile, v);
      if (column >= p.shape.row_stride) continue;
      if (p.weights != nullptr) {
        float weights[kScoreVector];
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) {
          weights[i] = signbit(prob[v][i]) ? 0 : prob[v][i] * call.dropout.keep_scale();
        }
        store_scores(p.weights + offset + column, weights);
      }
#pragma unroll
      for (int i = 0; i < kScoreVector; ++i) {
        dprob[v][i] = fabsf(prob[v][i]) * (dprob[v][i] - delta);
      }
      store_scores(p.dscores + offset + column, dprob[v]);
    }
  }
}

}  // namespace

template <class T>
void standard_softmax_backward(Context& ctx, const StandardGradientParams<T>& params) {
  with_row_layout(params.call.seq_k, [&](auto layout) {
    using Layout = decltype(layout);
    const int64_t rows = int64_t{params.shape.pairs} * params.call.seq_q;
    launch(ctx, attention_softmax_backward_standard_kernel<Layout, T>,
           {.grid = dim3(blocks_for(rows, Layout::kRowsPerBlock)), .block = dim3(Layout::kBlock)},
           params);
  });
}

template void standard_softmax_backward(Context&, const StandardGradientParams<float>&);
template void standard_softmax_backward(Context&, const StandardGradientParams<f16>&);
template void standard_softmax_backward(Context&, const StandardGradientParams<bf16>&);

}  // namespace strobe
