// attention_decode_scores_standard, attention_decode_softmax_standard,
// attention_decode_weigh_standard, attention_decode_join_standard
//
// Computes    S = scale·q Kᵀ over the cache, P = softmax(S), O = PV    docs/attention_decode.md
// Shapes      q, out [B,Tq,Hq,D]  k, v [B,capacity,Hkv,D]  S, P [B,Hq,Tq,capacity] f32
// Mapping     scores: a thread for each key, a block for each 128 keys of a key/value head
//             softmax: a block for each query    weigh: a block for each 256 keys of a key/value
//             head, D/8 threads side by side    join: a thread for each element of out
// Steps       [1] scores  [2] softmax in place  [3] sums of the values of 256 keys  [4] their sum
// Requires    sm_75; any strides with D contiguous
// Numerics    f32 throughout. The cuts depend on a sequence's own keys alone, so its result does
//             not depend on the batch or the capacity
// Cost        reads K and V once, S three times; 4·(capacity + D·capacity/256) bytes a query
#include <cmath>

#include "strobe/gpu/launch.h"
#include "strobe/gpu/math.cuh"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/standard.h"
#include "strobe/ops/attention/cuda/standard_rows.cuh"

namespace strobe {
namespace {

constexpr int kScoreKeys = 128;  // of a block that computes scores
constexpr int kPartKeys = 256;   // whose values one block sums up
constexpr int kPartThreads = 256;
constexpr int kSoftmaxThreads = 256;
constexpr int kMostHeadDim = 256;
constexpr int kQueriesAtOnce = 4;  // of a key/value head, for which a key is read once

template <class Q, class Cache>
struct StandardDecodeParams {
  BthdView<const Q> q;
  BthdView<const Cache> k, v;
  BthdView<Q> out;
  const int32_t* lengths = nullptr;
  float* scores = nullptr;  // [B, Hq, Tq, capacity]
  float* sums = nullptr;    // [B, Hq, Tq, parts, D]
  int seq_q = 0, capacity = 0, heads_q = 0, group = 1, head_dim = 0, parts = 0;
  float scale = 0;
  Mask mask;

  // Queries of a key/value head: those of its query heads, one head after another.
  __device__ int rows() const { return group * seq_q; }
  __device__ int head_of(int head_kv, int row) const { return head_kv * group + row / seq_q; }
  __device__ int64_t row_in_all(int batch, int head_kv, int row) const {
    return (static_cast<int64_t>(batch) * heads_q + head_of(head_kv, row)) * seq_q + row % seq_q;
  }
  __device__ int length(int batch) const { return min(max(lengths[batch], 0), capacity); }
  __device__ Span keys_of(int batch, int query) const {
    const int64_t keys = length(batch);
    const Visibility visibility = {
        .mask = mask, .seq_q = seq_q, .seq_k = keys, .queries = {0, seq_q}, .keys = {0, keys}};
    return visibility.keys_of(query);
  }
};

template <class T>
__device__ __forceinline__ void load_eight(const BthdView<const T>& view, const T* from,
                                           float (&x)[kScoreVector]) {
  if (view.has_aligned_rows) return load_scores(from, x);
#pragma unroll
  for (int i = 0; i < kScoreVector; ++i) x[i] = to_float(from[i]);
}

// What blocks share out: some keys of a key/value head of a sequence.
struct DecodeBlock {
  int part, head_kv, batch;

  template <class Params>
  __device__ DecodeBlock(const Params& p, int keys_per_block) {
    const int parts = (p.capacity + keys_per_block - 1) / keys_per_block;
    const int heads_kv = p.heads_q / p.group, index = static_cast<int>(blockIdx.x);
    part = index % parts;
    head_kv = index / parts % heads_kv;
    batch = index / parts / heads_kv;
  }
};

// [1]
template <class Q, class Cache>
__global__ void __launch_bounds__(kScoreKeys)
    attention_decode_scores_standard_kernel(const StandardDecodeParams<Q, Cache> p) {
  __shared__ float queries[kQueriesAtOnce][kMostHeadDim];
  const DecodeBlock block(p, kScoreKeys);
  const int batch = block.batch, head_kv = block.head_kv;
  const int first = block.part * kScoreKeys, length = p.length(batch);
  if (first >= length) return;
  const int key = first + static_cast<int>(threadIdx.x);
  for (int row = 0; row < p.rows(); row += kQueriesAtOnce) {
    const int count = min(kQueriesAtOnce, p.rows() - row);
    __syncthreads();
    for (int i = threadIdx.x; i < count * p.head_dim; i += kScoreKeys) {
      const int r = row + i / p.head_dim, d = i % p.head_dim;
      queries[i / p.head_dim][d] = to_float(p.q.row(batch, r % p.seq_q, p.head_of(head_kv, r))[d]);
    }
    __syncthreads();
    if (key >= length) continue;
    const Cache* from = p.k.row(batch, key, head_kv);
    float dots[kQueriesAtOnce] = {};
    for (int d = 0; d < p.head_dim; d += kScoreVector) {
      float x[kScoreVector];
      load_eight(p.k, from + d, x);
#pragma unroll
      for (int r = 0; r < kQueriesAtOnce; ++r) {
#pragma unroll
        for (int i = 0; i < kScoreVector; ++i) dots[r] = fmaf(x[i], queries[r][d + i], dots[r]);
      }
    }
    for (int r = 0; r < count; ++r) {
      p.scores[p.row_in_all(batch, head_kv, row + r) * p.capacity + key] = dots[r] * p.scale;
    }
  }
}

// [2]
template <class Q, class Cache>
__global__ void __launch_bounds__(kSoftmaxThreads)
    attention_decode_softmax_standard_kernel(const StandardDecodeParams<Q, Cache> p) {
  __shared__ float maxima[kSoftmaxThreads / kWarpSize], sums[kSoftmaxThreads / kWarpSize];
  constexpr float kLog2OfE = 1.44269504f;
  const int64_t row = blockIdx.x;
  const auto batch = static_cast<int>(row / p.seq_q / p.heads_q);
  const Span keys = p.keys_of(batch, static_cast<int>(row % p.seq_q));
  float* scores = p.scores + row * p.capacity;
  const auto for_keys = [&](const auto& body) {
    for (int64_t j = keys.begin + threadIdx.x; j < keys.end; j += kSoftmaxThreads) body(scores[j]);
  };
  float largest = -INFINITY;
  for_keys([&](float& x) { largest = fmaxf(largest, x); });
  largest = reduce_block<Maximum, kSoftmaxThreads>(largest, maxima);
  float sum = 0;
  for_keys([&](float& x) {
    x = exp2_approximately((x - largest) * kLog2OfE);
    sum += x;
  });
  sum = reduce_block<Sum, kSoftmaxThreads>(sum, sums);
  const float inverse = 1 / sum;
  for_keys([&](float& x) { x *= inverse; });
}

// [3]
template <class Q, class Cache>
__global__ void __launch_bounds__(kPartThreads)
    attention_decode_weigh_standard_kernel(const StandardDecodeParams<Q, Cache> p) {
  __shared__ float partial[kPartThreads * kScoreVector];
  const DecodeBlock block(p, kPartKeys);
  const int batch = block.batch, head_kv = block.head_kv, part = block.part;
  const int first = part * kPartKeys;
  if (first >= p.length(batch)) return;
  const int vectors = p.head_dim / kScoreVector, lanes = kPartThreads / vectors;
  const int d = static_cast<int>(threadIdx.x) % vectors * kScoreVector;
  const int lane = static_cast<int>(threadIdx.x) / vectors;
  for (int row = 0; row < p.rows(); ++row) {
    const Span keys = p.keys_of(batch, row % p.seq_q);
    const int64_t row_in_all = p.row_in_all(batch, head_kv, row);
    const float* probs = p.scores + row_in_all * p.capacity;
    const int begin = max(static_cast<int>(keys.begin), first);
    const int end = min(static_cast<int>(keys.end), first + kPartKeys);
    float sum[kScoreVector] = {};
    // A lane takes the same keys of the part wherever a window begins.
    for (int j = first + lane; lane < lanes && j < end; j += lanes) {
      if (j < begin) continue;
      float x[kScoreVector];
      load_eight(p.v, p.v.row(batch, j, head_kv) + d, x);
      const float prob = probs[j];
#pragma unroll
      for (int i = 0; i < kScoreVector; ++i) sum[i] = fmaf(prob, x[i], sum[i]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kScoreVector; ++i) {
      if (lane < lanes) partial[lane * p.head_dim + d + i] = sum[i];
    }
    __syncthreads();
    float* to = p.sums + (row_in_all * p.parts + part) * p.head_dim;
    for (int i = threadIdx.x; i < p.head_dim; i += kPartThreads) {
      float total = partial[i];
      for (int l = 1; l < lanes; ++l) total += partial[l * p.head_dim + i];
      to[i] = total;
    }
  }
}

// [4]
template <class Q, class Cache>
__global__ void attention_decode_join_standard_kernel(const StandardDecodeParams<Q, Cache> p) {
  const int64_t row = blockIdx.x;
  const auto query = static_cast<int>(row % p.seq_q);
  const auto head = static_cast<int>(row / p.seq_q % p.heads_q);
  const auto batch = static_cast<int>(row / p.seq_q / p.heads_q);
  const Span keys = p.keys_of(batch, query);
  const float* sums = p.sums + row * p.parts * p.head_dim;
  for (int d = threadIdx.x; d < p.head_dim; d += blockDim.x) {
    float total = 0;
    for (int64_t part = keys.begin / kPartKeys; part * kPartKeys < keys.end; ++part) {
      total += sums[part * p.head_dim + d];
    }
    p.out.row(batch, query, head)[d] = from_float<Q>(total);
  }
}

int64_t parts_of(int64_t capacity) { return (capacity + kPartKeys - 1) / kPartKeys; }

template <class Q, class Cache>
void run(Context& ctx, const AttentionDecode& args) {
  const AttentionProblem problem = problem_of(ctx, args);
  const int64_t rows = problem.batch * problem.heads_q * problem.seq_q;
  const int64_t parts = parts_of(problem.seq_k);
  const Arena::Scope scope(ctx.arena());
  const auto allocate = [&](int64_t elements) {
    return ctx.arena().allocate(MemoryUse::attention, DType::f32, {elements});
  };
  const Tensor scores = allocate(rows * problem.seq_k);
  const Tensor sums = allocate(rows * parts * problem.head_dim);
  const StandardDecodeParams<Q, Cache> params = {
      .q = bthd_view<const Q>(args.q),
      .k = bthd_view<const Cache>(args.k_cache),
      .v = bthd_view<const Cache>(args.v_cache),
      .out = bthd_view<Q>(args.out),
      .lengths = args.cache_lengths.as<int32_t>(),
      .scores = scores.as<float>(),
      .sums = sums.as<float>(),
      .seq_q = static_cast<int>(problem.seq_q),
      .capacity = static_cast<int>(problem.seq_k),
      .heads_q = static_cast<int>(problem.heads_q),
      .group = static_cast<int>(problem.heads_q / problem.heads_kv),
      .head_dim = static_cast<int>(problem.head_dim),
      .parts = static_cast<int>(parts),
      .scale = args.scale,
      .mask = args.mask};
  const auto grid = [&](int64_t keys, int64_t keys_per_block) {
    const int64_t parts = (keys + keys_per_block - 1) / keys_per_block;
    return dim3(static_cast<unsigned>(parts * problem.heads_kv * problem.batch));
  };
  const dim3 for_rows(static_cast<unsigned>(rows));
  launch(ctx, attention_decode_scores_standard_kernel<Q, Cache>,
         {.grid = grid(problem.seq_k, kScoreKeys), .block = dim3(kScoreKeys)}, params);
  launch(ctx, attention_decode_softmax_standard_kernel<Q, Cache>,
         {.grid = for_rows, .block = dim3(kSoftmaxThreads)}, params);
  launch(ctx, attention_decode_weigh_standard_kernel<Q, Cache>,
         {.grid = grid(problem.seq_k, kPartKeys), .block = dim3(kPartThreads)}, params);
  launch(ctx, attention_decode_join_standard_kernel<Q, Cache>,
         {.grid = for_rows, .block = dim3(64)}, params);
}

}  // namespace

int64_t standard_decode_workspace_bytes(const AttentionProblem& p) {
  return 4 * p.batch * p.heads_q * p.seq_q * (p.seq_k + parts_of(p.seq_k) * p.head_dim);
}

void standard_decode(Context& ctx, const AttentionDecode& args) {
  if (args.q.dtype == DType::f16) return run<f16, f16>(ctx, args);
  if (args.q.dtype == DType::bf16) return run<bf16, bf16>(ctx, args);
  with_float_type(args.k_cache.dtype, [&](auto type) { run<float, decltype(type)>(ctx, args); });
}

}  // namespace strobe
