// attention_softmax_standard
//
// Computes    P = softmax(scale·S + bias) over the visible keys, Z∘P, L  docs/attention_forward.md
// Shapes      S [pairs, Tq, row_stride] f32;  P, Z∘P the same in T;  lse [B, Hq, Tq] f32
// Mapping     four rows, those of a counter of dropout, one after another by a warp (up to 1024
//             keys) or a block; a row in registers, a longer one in tiles that are read again
// Steps       [1] scores in base 2, hidden ones −∞  [2] maximum  [3] exponentials and their sum
//             [4] P, Z∘P; the log-sum-exp
// Requires    sm_75; rows aligned to 16 bytes                       (standard.cu lays them out so)
// Numerics    f32 throughout; P and Z∘P rounded once, where they are written. The sign of a P in
//             memory says that dropout takes the element, so backward makes no random bits
// Cost        reads 4 bytes a score, writes sizeof(T) for each of P and Z∘P; hidden scores are not
//             read
#include <cmath>

#include "strobe/gpu/math.cuh"
#include "strobe/ops/attention/cuda/standard_keep_bits.cuh"
#include "strobe/ops/attention/cuda/standard_softmax.h"

namespace strobe {
namespace {

constexpr float kLog2OfE = 1.44269504f;
constexpr float kLogOf2 = 0.693147181f;

// One vector of a row in base 2: s·scale·log₂e (+ bias·log₂e), −∞ where hidden.
__device__ __forceinline__ void load_base2(const float* scores, const float* bias, float factor,
                                           const ScoreRow& row, int column,
                                           float (&x)[kScoreVector]) {
  if (!sees_any(row, column)) return set_all(x, -INFINITY);
  load_scores(scores + column, x);
#pragma unroll
  for (int i = 0; i < kScoreVector; ++i) x[i] *= factor;
  if (bias != nullptr) {
    for (int i = 0; i < kScoreVector; ++i) {
      if (column + i < row.end) x[i] = fmaf(bias[column + i], kLog2OfE, x[i]);
    }
  }
  if (!sees_all(row, column)) set_hidden(row, column, -INFINITY, x);
}

template <class Layout, class T>
__global__ void __launch_bounds__(Layout::kBlock, Layout::kBlocksPerSm)
    attention_softmax_standard_kernel(const StandardSoftmaxParams<T> p) {
  constexpr int kVectors = Layout::kVectors;
  __shared__ float maxima[kWarpSize], sums[kWarpSize];
  const AttentionCall<T>& call = p.call;
  const int quads = quads_of(call.seq_q);
  const int64_t index =
      static_cast<int64_t>(blockIdx.x) * Layout::kRowsPerBlock + threadIdx.x / Layout::kThreads;
  const auto pair = static_cast<int>(index / quads), quad = static_cast<int>(index % quads);
  if (pair >= p.shape.pairs) return;
  const int batch = p.shape.first_sequence + pair / p.shape.heads;
  const int head = p.shape.first_head + pair % p.shape.heads;
  const bool has_dropout = call.dropout.threshold != 0;
  const float factor = call.scale * kLog2OfE;
  KeepBits<Layout> keep(call.dropout);

  for (int r = 0; r < kQuad; ++r) {
    const int t = quad_row(quad, r);
    if (t >= call.seq_q) break;
    const ScoreRow row = score_row(call, batch, head, t);
    const int64_t offset = pair * p.shape.pair_stride + t * p.shape.row_stride;
    const float* scores = p.scores + offset;
    const float* bias = call.bias.data == nullptr ? nullptr : call.bias.row(batch, head, t);
    const bool is_one_tile = call.seq_k <= Layout::kTile;
    float x[kVectors][kScoreVector];

    // [1]
    const auto load = [&](int tile) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        load_base2(scores, bias, factor, row, Layout::column(tile, v), x[v]);
      }
    };

    // [2] A NaN does not count here, but will in the sum.
    float largest = -INFINITY;
    for (int tile = 0; tile < call.seq_k; tile += Layout::kTile) {
      load(tile);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) largest = fmaxf(largest, x[v][i]);
      }
    }
    largest = Layout::template reduce<Maximum>(largest, maxima);
    const float shift = largest == -INFINITY ? 0 : largest;

    // [3]
    const auto exponentiate = [&] {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) x[v][i] = exp2_approximately(x[v][i] - shift);
      }
    };
    float sum = 0;
    for (int tile = 0; tile < call.seq_k; tile += Layout::kTile) {
      if (!is_one_tile) load(tile);
      exponentiate();
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) sum += x[v][i];
      }
    }
    sum = Layout::template reduce<Sum>(sum, sums);

    // [4]
    const bool is_empty = sum == 0;
    const float inverse = is_empty ? 0 : 1 / sum;
    for (int tile = 0; tile < p.shape.row_stride; tile += Layout::kTile) {
      if (!is_one_tile) {
        load(tile);
        exponentiate();
      }
      if (has_dropout) keep.set(row, tile);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int column = Layout::column(tile, v);
        if (column >= p.shape.row_stride) continue;
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) x[v][i] *= inverse;
        if (has_dropout) {
          const uint32_t kept = keep.of(row, v);
          float weights[kScoreVector];
#pragma unroll
          for (int i = 0; i < kScoreVector; ++i) {
            const bool is_kept = (kept >> i & 1u) != 0;
            weights[i] = is_kept ? x[v][i] * call.dropout.keep_scale() : 0;
            x[v][i] = is_kept ? x[v][i] : -x[v][i];
          }
          store_scores(p.weights + offset + column, weights);
        } else if (p.weights != nullptr) {
          store_scores(p.weights + offset + column, x[v]);
        }
        if (p.probs != nullptr) store_scores(p.probs + offset + column, x[v]);
      }
    }
    if (Layout::thread() == 0) {
      p.lse[(static_cast<int64_t>(batch) * call.heads_q + head) * call.seq_q + t] =
          is_empty ? -INFINITY : (largest + log2f(sum)) * kLogOf2;
    }
  }
}

}  // namespace

template <class T>
void standard_softmax(Context& ctx, const StandardSoftmaxParams<T>& params) {
  with_row_layout(params.call.seq_k, [&](auto layout) {
    using Layout = decltype(layout);
    const int64_t groups = int64_t{params.shape.pairs} * quads_of(params.call.seq_q);
    launch(ctx, attention_softmax_standard_kernel<Layout, T>,
           {.grid = dim3(blocks_for(groups, Layout::kRowsPerBlock)), .block = dim3(Layout::kBlock)},
           params);
  });
}

template void standard_softmax(Context&, const StandardSoftmaxParams<float>&);
template void standard_softmax(Context&, const StandardSoftmaxParams<f16>&);
template void standard_softmax(Context&, const StandardSoftmaxParams<bf16>&);

}  // namespace strobe
