// The textbook algorithm on a GPU: S = QKᵀ in memory, softmax row by row, O = (Z∘P)V, and P kept
// for the backward pass. Matrix products by cuBLAS, batched over heads and sequences, some at a
// time (standard_plan.h); between them one kernel (standard_softmax*.cu).
// docs/attention_backward.md has the equations.
#include "strobe/ops/attention/cuda/standard.h"

#include "strobe/core/copy.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/standard_products.cuh"
#include "strobe/ops/attention/cuda/standard_softmax.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;

template <class T>
Tensor allocate(Context& ctx, int64_t elements) {
  return elements == 0 ? Tensor()
                       : ctx.arena().allocate(MemoryUse::attention, dtype_of<T>(), {elements});
}
template <class T>
T* data_of(const Tensor& x) {
  return static_cast<T*>(x.data);
}

// Calls body(shape, range) for every chunk of pairs, in order.
template <class Body>
void for_each_chunk(const StandardPlan& plan, const Body& body) {
  const int64_t all_units = plan.batch * plan.heads_kv;
  for (int64_t unit = 0; unit < all_units; unit += plan.chunk_units) {
    const int64_t units = std::min(plan.chunk_units, all_units - unit);
    const int64_t heads = std::min(units, plan.heads_kv) * plan.group;
    const ScoreMatrices shape = {.first_sequence = static_cast<int>(unit / plan.heads_kv),
                                 .first_head = static_cast<int>(unit % plan.heads_kv * plan.group),
                                 .heads = static_cast<int>(heads),
                                 .pairs = static_cast<int>(units * plan.group),
                                 .row_stride = plan.row_stride,
                                 .pair_stride = plan.pair_elements};
    body(shape, StandardProducts::Range{unit * plan.group, units * plan.group});
  }
}

template <class T>
void copy_kept(Context& ctx, const BthdView<const T>& from, const BthdView<T>& to,
               const KeptPositions& kept, const Shape& shape) {
  const int64_t vectors = shape.numel() / kScoreVector;
  launch(ctx, copy_kept_kernel<T>,
         {.grid = dim3(blocks_for(vectors, kThreads)), .block = dim3(kThreads)}, from, to, kept,
         static_cast<int>(shape[1]), static_cast<int>(shape[2]), static_cast<int>(shape[3]),
         vectors);
}
template <class T>
void set_zero(Context& ctx, const Tensor& x) {
  copy_kept<T>(ctx, {}, bthd_view<T>(x), {}, x.shape);
}

// `x` with zeros in the padding, in memory of the arena; itself where there is no padding.
template <class T>
BthdView<const T> clean_copy(Context& ctx, const StandardPlan& plan, const Tensor& x,
                             const KeptPositions& kept) {
  if (!plan.needs_clean_copies) return bthd_view<const T>(x);
  Tensor copy = ctx.arena().allocate(MemoryUse::attention, x.dtype, x.shape);
  copy_kept<T>(ctx, bthd_view<const T>(x), bthd_view<T>(copy), kept, x.shape);
  return bthd_view<const T>(copy);
}

// What cuBLAS takes: rows without overlap, at addresses that its kernels can load from.
template <class T>
void check_rows(const char* name, const Tensor& x) {
  check(x.shape[1] <= 1 || x.strides[1] >= x.shape[3], name, " has stride ", x.strides[1],
        " from row to row, cuda_standard takes at least head_dim, ", x.shape[3]);
  check(bthd_view<T>(x).has_aligned_rows, name, " at ", x.data, " with strides ", x.strides,
        ": cuda_standard takes rows at multiples of 16 bytes");
}

template <class T>
void run_forward(Context& ctx, const AttentionForward& args) {
  const StandardPlan plan(problem_of(ctx, args));
  const AttentionCall<T> call = attention_call<T>(args);
  StandardSoftmaxParams<T> params = {.call = call, .lse = args.lse.as<float>()};
  if (plan.is_empty()) {
    set_zero<T>(ctx, args.out);
    params.shape.heads = call.heads_q;
    params.shape.pairs = static_cast<int>(plan.pairs());
    params.call.seq_k = 0;
    return standard_softmax(ctx, params);
  }
  const Arena::Scope scope(ctx.arena());
  const Tensor scores = allocate<float>(ctx, plan.chunk_elements());
  const Tensor weights = allocate<T>(ctx, plan.needs_forward_weights() ? plan.chunk_elements() : 0);
  const auto v = clean_copy<T>(ctx, plan, args.v, {call.key_begin, call.key_end});
  StandardProducts products(ctx, plan, StandardPlan::kForwardArrays);
  const Matrices q = products.of_tensor(call.q, args.q, false);
  const Matrices k = products.of_tensor(call.k, args.k, true);
  const Matrices s = products.of_chunk(scores.as<float>(), plan.pair_elements, plan.row_stride);
  const Matrices values = products.of_tensor(v, args.v, true);
  const Matrices out = products.of_tensor(bthd_view<T>(args.out), args.out, false);

  // P is kept where a backward follows. What v is multiplied by is P itself without dropout.
  T* saved = data_of<T>(args.saved);
  const bool has_weights = plan.has_dropout || saved == nullptr;
  params.scores = scores.as<float>();
  if (has_weights) params.weights = data_of<T>(plan.is_narrow() ? weights : scores);
  const Matrices w = has_weights
                         ? products.of_chunk(params.weights, plan.pair_elements, plan.row_stride)
                         : products.of_pairs(saved, plan.pair_elements, plan.row_stride);
  products.start();
  for_each_chunk(plan, [&](const ScoreMatrices& shape, StandardProducts::Range range) {
    products.multiply(range, {plan.seq_q, plan.seq_k, plan.head_dim}, q, k.transposed(), s);
    params.shape = shape;
    params.probs = saved == nullptr ? nullptr : saved + range.first * plan.pair_elements;
    standard_softmax(ctx, params);
    products.multiply(range, {plan.seq_q, plan.head_dim, plan.seq_k}, w, values, out);
  });
}

// dbias += dS of a chunk.
template <class T>
void add_dbias(Context& ctx, const StandardPlan& plan, const ScoreMatrices& shape, const T* dscores,
               const Tensor& dbias) {
  if (!dbias.has_data()) return;
  const auto is_shared = [&](int dim) { return dbias.shape[dim] == 1; };
  const auto stride = [&](int dim) { return is_shared(dim) ? 0 : dbias.strides[dim]; };
  const BiasGradient to = {.data = dbias.as<float>(),
                           .batch_stride = stride(0),
                           .head_stride = stride(1),
                           .query_stride = stride(2),
                           .is_batch_shared = is_shared(0),
                           .is_head_shared = is_shared(1),
                           .is_query_shared = is_shared(2)};
  const unsigned rows = is_shared(2) ? 1 : blocks_for(plan.seq_q, kDbiasRows);
  const unsigned columns = blocks_for(plan.seq_k, kDbiasColumns);
  const int matrices =
      (is_shared(0) ? 1 : shape.pairs / shape.heads) * (is_shared(1) ? 1 : shape.heads);
  launch(ctx, add_dbias_kernel<T>,
         {.grid = dim3(columns * rows, static_cast<unsigned>(matrices)),
          .block = dim3(kDbiasColumns * kDbiasRows)},
         dscores, shape, to, static_cast<int>(plan.seq_q), static_cast<int>(plan.seq_k));
}

// dk or dv, [time, head_dim] for each key/value head, as the sum over its query heads.
template <class T>
class KeyGradient {
 public:
  KeyGradient(StandardProducts& products, const StandardPlan& plan, const Tensor& gradient,
              const Tensor& sums)
      : plan_(plan), gradient_(gradient), sums_(sums) {
    // Every pair of a group writes to the same place, one after another.
    to_ = sums.has_data()
              ? products.of_units(sums.as<float>(), plan.seq_k * plan.head_dim, plan.head_dim)
              : products.of_tensor(bthd_view<T>(gradient), gradient, true);
  }

  // Σ factor·aᵀ·b
  void set(Context& ctx, const StandardProducts& products, StandardProducts::Range range,
           const Matrices& a, const Matrices& b, float factor) const {
    const int64_t units = range.count / plan_.group;
    for (int64_t member = 0; member < plan_.group; ++member) {
      products.multiply({range.first + member * units, units},
                        {plan_.seq_k, plan_.head_dim, plan_.seq_q}, a.transposed(), b, to_, factor,
                        member > 0);
    }
    if (!sums_.has_data()) return;
    const int64_t count = units * plan_.seq_k * plan_.head_dim;
    launch(ctx, narrow_sums_kernel<T>,
           {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)}, sums_.as<float>(),
           bthd_view<T>(gradient_), static_cast<int>(range.first / plan_.group),
           static_cast<int>(plan_.heads_kv), static_cast<int>(plan_.seq_k),
           static_cast<int>(plan_.head_dim), count);
  }

 private:
  const StandardPlan& plan_;
  Tensor gradient_, sums_;
  Matrices to_;
};

template <class T>
void run_backward(Context& ctx, const AttentionBackward& args) {
  const StandardPlan plan(problem_of(ctx, args));
  const AttentionCall<T> call = attention_call<T>(args);
  if (args.dbias.has_data()) clear(ctx, args.dbias);
  if (plan.is_empty()) {
    for (const Tensor& x : {args.dq, args.dk, args.dv}) set_zero<T>(ctx, x);
    return;
  }
  const Arena::Scope scope(ctx.arena());
  const Tensor dprobs = allocate<float>(ctx, plan.chunk_elements());
  const Tensor narrow = allocate<T>(ctx, plan.is_narrow() ? plan.chunk_elements() : 0);
  const Tensor dropped = allocate<T>(ctx, plan.has_dropout ? plan.chunk_elements() : 0);
  const Tensor key_sums = allocate<float>(ctx, plan.key_sum_elements());
  const KeptPositions keys = {call.key_begin, call.key_end};
  const KeptPositions queries = {call.query_begin, call.query_end};
  const auto clean_k = clean_copy<T>(ctx, plan, args.k, keys);
  const auto clean_q = clean_copy<T>(ctx, plan, args.q, queries);
  const auto clean_dout = clean_copy<T>(ctx, plan, args.dout, queries);

  T* saved = data_of<T>(args.saved);
  StandardGradientParams<T> params = {.call = call,
                                      .dprobs = dprobs.as<float>(),
                                      .dscores = data_of<T>(plan.is_narrow() ? narrow : dprobs),
                                      .weights = data_of<T>(dropped)};
  StandardProducts products(ctx, plan, StandardPlan::kBackwardArrays);
  const auto of_chunk = [&](auto* data) {
    return products.of_chunk(data, plan.pair_elements, plan.row_stride);
  };
  const Matrices dout = products.of_tensor(bthd_view<const T>(args.dout), args.dout, false);
  const Matrices v = products.of_tensor(call.v, args.v, true);
  const Matrices dp = of_chunk(dprobs.as<float>()), ds = of_chunk(params.dscores);
  const Matrices w = plan.has_dropout
                         ? of_chunk(params.weights)
                         : products.of_pairs(saved, plan.pair_elements, plan.row_stride);
  const Matrices kept_dout = products.of_tensor(clean_dout, args.dout, false);
  const Matrices kept_q = products.of_tensor(clean_q, args.q, false);
  const Matrices kept_k = products.of_tensor(clean_k, args.k, true);
  const Matrices dq = products.of_tensor(bthd_view<T>(args.dq), args.dq, false);
  const KeyGradient<T> dk(products, plan, args.dk, key_sums), dv(products, plan, args.dv, key_sums);
  products.start();
  for_each_chunk(plan, [&](const ScoreMatrices& shape, StandardProducts::Range range) {
    products.multiply(range, {plan.seq_q, plan.seq_k, plan.head_dim}, dout, v.transposed(), dp);
    params.shape = shape;
    params.probs = saved + range.first * plan.pair_elements;
    standard_softmax_backward(ctx, params);
    dv.set(ctx, products, range, w, kept_dout, 1);
    products.multiply(range, {plan.seq_q, plan.head_dim, plan.seq_k}, ds, kept_k, dq, call.scale);
    dk.set(ctx, products, range, ds, kept_q, call.scale);
    add_dbias(ctx, plan, shape, params.dscores, args.dbias);
  });
}

std::string why_not(const AttentionProblem& problem, const Device& device) {
  if (problem.dtype == DType::i32) return "takes f32, f16 and bf16, not i32";
  const bool needs_bf16_products = problem.dtype == DType::bf16 && !problem.is_decode;
  std::string reason = why_not_cuda(device, needs_bf16_products ? 80 : 75);
  return reason.empty() ? why_not_lengths(problem) : reason;
}

int64_t saved_bytes(const AttentionProblem& problem) { return StandardPlan(problem).saved_bytes(); }

int64_t workspace_bytes(const AttentionProblem& problem) {
  if (problem.is_decode) return standard_decode_workspace_bytes(problem);
  const StandardPlan plan(problem);
  return plan.needs_backward ? std::max(plan.forward_bytes(), plan.backward_bytes())
                             : plan.forward_bytes();
}

void forward(Context& ctx, const AttentionForward& args) {
  with_float_type(args.q.dtype, [&](auto type) {
    using T = decltype(type);
    check_rows<T>("q", args.q);
    check_rows<T>("k", args.k);
    check_rows<T>("v", args.v);
    check_rows<T>("out", args.out);
    run_forward<T>(ctx, args);
  });
}

void backward(Context& ctx, const AttentionBackward& args) {
  with_float_type(args.q.dtype, [&](auto type) {
    using T = decltype(type);
    check_rows<T>("q", args.q);
    check_rows<T>("k", args.k);
    check_rows<T>("v", args.v);
    check_rows<T>("dout", args.dout);
    check_rows<T>("dq", args.dq);
    check_rows<T>("dk", args.dk);
    check_rows<T>("dv", args.dv);
    run_backward<T>(ctx, args);
  });
}

}  // namespace

const AttentionImpl kCudaStandard = {.name = "cuda_standard",
                                     .algorithm = Algorithm::standard,
                                     .why_not = &why_not,
                                     .saved_bytes = &saved_bytes,
                                     .workspace_bytes = &workspace_bytes,
                                     .forward = &forward,
                                     .backward = &backward,
                                     .decode = &standard_decode};

}  // namespace strobe
