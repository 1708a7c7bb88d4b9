// The textbook algorithm: S = QKᵀ in memory, softmax row by row, O = (Z∘P)V, and P kept for the
// backward pass. Matrix products by oneDNN, over all heads of a sequence at once; what lies between
// them is one pass over the scores (standard_kernels.cpp). docs/attention_backward.md has the
// equations.
//
// Padding is never multiplied: the products run over the queries that see a key and the keys that
// are seen, so a NaN outside cannot reach anything.
#include <algorithm>
#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/decode_plan.h"
#include "strobe/ops/attention/cpu/impls.h"
#include "strobe/ops/attention/cpu/standard_dbias.h"
#include "strobe/ops/attention/cpu/standard_kernels.h"
#include "strobe/ops/attention/cpu/standard_region.h"
#include "strobe/simd/cpu_row.h"
#include "strobe/simd/onednn_matmul.h"

namespace strobe {
namespace {

int64_t mask_words(const AttentionProblem& problem) {
  return problem.has_dropout ? kStripeRows * standard_mask_words(problem.seq_k) : 0;
}
int64_t pairs_in_batch(const AttentionProblem& p) {
  return p.is_packed ? p.packed_pairs : p.batch * p.seq_q * p.seq_k;
}
int64_t pairs_in_sequence(const AttentionProblem& p) {
  return p.is_packed ? p.packed_pairs_max : p.seq_q * p.seq_k;
}
// dk and dv of grouped heads are sums of several products: bf16 is rounded after the last.
bool needs_key_sums(const AttentionProblem& p) {
  return p.dtype == DType::bf16 && p.heads_q != p.heads_kv;
}
int64_t key_sum_elements(const AttentionProblem& p) {
  return needs_key_sums(p) ? p.seq_k * p.heads_kv * p.head_dim : 0;
}

int64_t saved_bytes(const AttentionProblem& p) {
  return p.needs_backward ? p.heads_q * pairs_in_batch(p) * static_cast<int64_t>(size_of(p.dtype))
                          : 0;
}

// The scores of one sequence in f32, dropout's bits, and the sums of dk or dv, and of dbias.
int64_t workspace_bytes(const AttentionProblem& p) {
  if (p.is_decode) return standard_decode_bytes(p);
  const int64_t mask_floats = (mask_words(p) + 1) / 2 * thread_count();
  const int64_t sums = p.needs_backward ? key_sum_elements(p) : 0;
  const int64_t scores = p.heads_q * pairs_in_sequence(p);
  return 4 * (scores + mask_floats + sums + StandardDbias::sum_floats(p));
}

struct Workspace {
  Tensor scores;  // f32, of the longest sequence
  Tensor masks;   // of every thread
  Tensor key_sums;
  int64_t masks_of_thread = 0;

  struct Needs {
    bool scores, key_sums;
  };
  Workspace(Arena& arena, const AttentionProblem& p, Needs needs) {
    const auto allocate = [&](int64_t elements) {
      return arena.allocate(MemoryUse::attention, DType::f32, {elements});
    };
    if (needs.scores) scores = allocate(p.heads_q * pairs_in_sequence(p));
    masks_of_thread = (mask_words(p) + 1) / 2 * 2;
    if (p.has_dropout) masks = allocate(masks_of_thread / 2 * thread_count());
    if (needs.key_sums) key_sums = allocate(key_sum_elements(p));
  }
  uint16_t* masks_for(int thread) const {
    return masks.has_data() ? static_cast<uint16_t*>(masks.data) + thread * masks_of_thread
                            : nullptr;
  }
};

FlashDropout dropout_of(const Dropout& dropout, uint32_t head) {
  return {.threshold = dropout.threshold,
          .key = {dropout.current_key().word[0], dropout.current_key().word[1]},
          .keep_scale = dropout.keep_scale(),
          .head = head};
}

// Calls body(head, row, stripe) for every stripe of the region, on all threads; where the heads of
// a stripe come in order, one after another.
enum class HeadOrder { any, one_by_one };
template <class Args, class Body>
void for_each_stripe(const StandardRegion<Args>& region, const Workspace& workspace,
                     const Body& body, HeadOrder order = HeadOrder::any) {
  const Span queries = region.queries;
  const int64_t first_block = queries.begin / kStripeRows;
  const int64_t blocks = (queries.end - 1) / kStripeRows + 1 - first_block;
  const Tensor& bias = region.args.bias;
  const auto run = [&](int64_t head, int64_t block, int thread) {
    const int64_t begin = std::max(queries.begin, block * kStripeRows);
    const int64_t end = std::min(queries.end, (block + 1) * kStripeRows);
    ScoreStripe stripe = {
        .rows = static_cast<int>(end - begin),
        .keys = region.columns(),
        .scale = region.args.scale,
        .dropout = dropout_of(region.args.dropout,
                              region.sequence.dropout_head + static_cast<uint32_t>(head)),
        .first_query = begin,
        .first_key = region.keys.begin,
        .masks = workspace.masks_for(thread),
        .mask_stride = standard_mask_words(region.columns())};
    for (int64_t i = begin; i < end; ++i) {
      const Span seen = region.sequence.visibility.keys_of(i);
      if (seen.empty()) continue;
      stripe.begin[i - begin] = seen.begin - region.keys.begin;
      stripe.end[i - begin] = seen.end - region.keys.begin;
    }
    if (bias.has_data()) {
      const auto stride = [&](int d) { return bias.shape[d] == 1 ? 0 : bias.strides[d]; };
      stripe.bias = bias.as<float>() + region.sequence.batch * stride(0) + head * stride(1) +
                    begin * stride(2) + region.keys.begin;
      stripe.bias_stride = stride(2);
    }
    body(head, begin - queries.begin, stripe);
  };
  const int64_t tasks = order == HeadOrder::any ? region.heads_q * blocks : blocks;
  parallel_for_dynamic(tasks, [&](int64_t task, int thread) {
    const int64_t block = first_block + task % blocks;
    if (order == HeadOrder::any) return run(task / blocks, block, thread);
    for (int64_t head = 0; head < region.heads_q; ++head) run(head, block, thread);
  });
}

// lse of `head` at row `row` of the region.
template <class Args>
float* lse_at(const StandardRegion<Args>& region, int64_t head, int64_t row) {
  const Tensor& lse = region.args.lse;
  return lse.as<float>() + region.sequence.batch * lse.strides[0] + head * lse.strides[1] +
         region.sequence.first_q + region.queries.begin + row;
}

void clear_other_lse(const StandardRegion<AttentionForward>& region) {
  const AttentionSequence& s = region.sequence;
  const Tensor& lse = region.args.lse;
  for (int64_t head = 0; head < region.heads_q; ++head) {
    float* row = lse.as<float>() + s.batch * lse.strides[0] + head * lse.strides[1] + s.first_q;
    std::fill(row, row + region.queries.begin, -INFINITY);
    std::fill(row + region.queries.end, row + s.visibility.seq_q, -INFINITY);
  }
}

template <class T>
void forward_region(Context& ctx, const StandardKernels<T>& kernels, const Workspace& workspace,
                    const StandardRegion<AttentionForward>& region, T* saved) {
  const AttentionForward& args = region.args;
  const bool has_dropout = args.dropout.active();
  const DType dtype = dtype_of<T>();
  // What v is multiplied by lies over the scores.
  void* memory = workspace.scores.has_data() ? workspace.scores.data : saved;
  const StandardScores scores = region.scores(memory, DType::f32, DType::f32);
  const StandardScores probs = saved != nullptr ? region.scores(saved, dtype, dtype)
                               : has_dropout    ? StandardScores()
                                                : region.scores(memory, dtype, DType::f32);
  const StandardScores dropped =
      has_dropout ? region.scores(memory, dtype, DType::f32) : StandardScores();

  const Tensor k = region.key_heads(args.k), v = region.key_heads(args.v);
  for (int64_t g = 0; g < region.group; ++g) {
    onednn_matmul(ctx, {.a = region.query_heads(args.q, g),
                        .b = k.transpose(1, 2),
                        .c = scores.group_heads(g, region.group)});
  }
  for_each_stripe(region, workspace, [&](int64_t head, int64_t row, const ScoreStripe& stripe) {
    kernels.softmax({.stripe = stripe,
                     .scores = static_cast<float*>(scores.at(head, row)),
                     .scores_stride = scores.stride(),
                     .probs = probs.at(head, row),
                     .probs_stride = probs.stride(),
                     .dropped = dropped.at(head, row),
                     .dropped_stride = dropped.stride(),
                     .lse = lse_at(region, head, row)});
  });
  const StandardScores& weights = has_dropout ? dropped : probs;
  for (int64_t g = 0; g < region.group; ++g) {
    onednn_matmul(
        ctx,
        {.a = weights.group_heads(g, region.group), .b = v, .c = region.query_heads(args.out, g)});
  }
}

template <class T>
void run_forward(Context& ctx, const StandardKernels<T>& kernels, const AttentionForward& args) {
  const AttentionProblem problem = problem_of(ctx, args);
  const Arena::Scope scope(ctx.arena());
  // f32 without dropout needs nothing but `saved`: S becomes P, which v is multiplied by, in place.
  const bool is_saved_enough =
      args.saved.has_data() && args.q.dtype == DType::f32 && !args.dropout.active();
  const Workspace workspace(ctx.arena(), problem, {.scores = !is_saved_enough, .key_sums = false});
  T* saved = args.saved.has_data() ? static_cast<T*>(args.saved.data) : nullptr;
  for (int64_t index = 0; index < problem.batch; ++index) {
    const StandardRegion region(args, index);
    region.clear_other_queries(args.out);
    clear_other_lse(region);
    if (!region.empty()) forward_region(ctx, kernels, workspace, region, saved);
    const Visibility& v = region.sequence.visibility;
    if (saved != nullptr) saved += problem.heads_q * v.seq_q * v.seq_k;
  }
}

// dx (dk or dv) = Σ over the group's heads of aᵀ·b.
template <class A, class B>
void sum_over_group(Context& ctx, const StandardRegion<AttentionBackward>& region,
                    const Tensor& key_sums, const Tensor& dx, const A& a, const B& b) {
  const Tensor out = region.key_heads(dx);
  Tensor sum = out;
  if (key_sums.has_data()) sum = Tensor::contiguous(key_sums.data, DType::f32, out.shape);
  for (int64_t g = 0; g < region.group; ++g) {
    onednn_matmul(ctx, {.a = a(g).transpose(1, 2), .b = b(g), .c = sum, .accumulate = g > 0});
  }
  if (!key_sums.has_data()) return;
  parallel_ranges(out.shape[0] * out.shape[1], 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / out.shape[1], row = i % out.shape[1], size = out.shape[2];
      const float* from = sum.as<float>() + i * size;
      bf16* to = out.as<bf16>() + head * out.strides[0] + row * out.strides[1];
      for (int64_t d = 0; d < size; ++d) to[d] = to_bf16(from[d]);
    }
  });
}

// dV = (Z∘P)ᵀ dO; `memory` is where Z∘P may lie.
template <class T>
void set_dv(Context& ctx, const StandardKernels<T>& kernels, const Workspace& workspace,
            const StandardRegion<AttentionBackward>& region, const StandardScores& probs,
            const StandardScores& memory) {
  const AttentionBackward& args = region.args;
  const StandardScores& weights = args.dropout.active() ? memory : probs;
  if (args.dropout.active()) {
    for_each_stripe(region, workspace, [&](int64_t head, int64_t row, const ScoreStripe& stripe) {
      kernels.drop({.stripe = stripe,
                    .probs = probs.at(head, row),
                    .probs_stride = probs.stride(),
                    .dropped = weights.at(head, row),
                    .dropped_stride = weights.stride()});
    });
  }
  sum_over_group(
      ctx, region, workspace.key_sums, args.dv,
      [&](int64_t g) { return weights.group_heads(g, region.group); },
      [&](int64_t g) { return region.query_heads(args.dout, g); });
}

// dS and dbias of P and dP; dS in the memory of dP.
template <class T>
void set_dscores(const StandardKernels<T>& kernels, const Workspace& workspace,
                 const StandardRegion<AttentionBackward>& region, const StandardDbias& dbias,
                 const StandardScores& probs, const StandardScores& dprobs,
                 const StandardScores& dscores) {
  const auto run = [&](int64_t head, int64_t row, const ScoreStripe& stripe) {
    const auto rows_of = [&](const Tensor& x) {
      const int64_t g = head % region.group;
      return region.query_heads(x, g)
          .slice(0, head / region.group, region.heads_kv)
          .slice(1, row, region.rows());
    };
    const Tensor out = rows_of(region.args.out), dout = rows_of(region.args.dout);
    const auto bias_rows = dbias.rows(region.sequence.batch, head, stripe.first_query);
    const bool has_dbias = bias_rows.data != nullptr;
    kernels.softmax_backward({.stripe = stripe,
                              .probs = probs.at(head, row),
                              .probs_stride = probs.stride(),
                              .dprobs = static_cast<float*>(dprobs.at(head, row)),
                              .dprobs_stride = dprobs.stride(),
                              .dscores = dscores.at(head, row),
                              .dscores_stride = dscores.stride(),
                              .dbias = has_dbias ? bias_rows.data + stripe.first_key : nullptr,
                              .dbias_stride = bias_rows.stride,
                              .out = out.data,
                              .dout = dout.data,
                              .out_stride = out.strides[1],
                              .dout_stride = dout.strides[1],
                              .head_dim = static_cast<int>(region.args.q.shape[3])});
  };
  dbias.start_sequence();
  for_each_stripe(region, workspace, run,
                  dbias.shares_heads() ? HeadOrder::one_by_one : HeadOrder::any);
  dbias.finish_sequence(region.sequence.batch);
}

template <class T>
void backward_region(Context& ctx, const StandardKernels<T>& kernels, const Workspace& workspace,
                     const StandardRegion<AttentionBackward>& region, const StandardDbias& dbias,
                     void* saved) {
  const AttentionBackward& args = region.args;
  const DType dtype = dtype_of<T>();
  void* memory = workspace.scores.data;
  const StandardScores probs = region.scores(saved, dtype, dtype);
  const StandardScores in_place = region.scores(memory, dtype, DType::f32);  // Z∘P, later dS
  const StandardScores dprobs = region.scores(memory, DType::f32, DType::f32);
  const Tensor k = region.key_heads(args.k), v = region.key_heads(args.v);
  set_dv(ctx, kernels, workspace, region, probs, in_place);

  // dP = dO Vᵀ, then dS in its place
  for (int64_t g = 0; g < region.group; ++g) {
    onednn_matmul(ctx, {.a = region.query_heads(args.dout, g),
                        .b = v.transpose(1, 2),
                        .c = dprobs.group_heads(g, region.group)});
  }
  set_dscores(kernels, workspace, region, dbias, probs, dprobs, in_place);

  // dQ = dS K, dK = dSᵀ Q
  for (int64_t g = 0; g < region.group; ++g) {
    onednn_matmul(
        ctx,
        {.a = in_place.group_heads(g, region.group), .b = k, .c = region.query_heads(args.dq, g)});
  }
  sum_over_group(
      ctx, region, workspace.key_sums, args.dk,
      [&](int64_t g) { return in_place.group_heads(g, region.group); },
      [&](int64_t g) { return region.query_heads(args.q, g); });
}

template <class T>
void run_backward(Context& ctx, const StandardKernels<T>& kernels, const AttentionBackward& args) {
  const AttentionProblem problem = problem_of(ctx, args);
  const Arena::Scope scope(ctx.arena());
  const Workspace workspace(ctx.arena(), problem,
                            {.scores = true, .key_sums = needs_key_sums(problem)});
  const StandardDbias dbias(ctx.arena(), args, problem);
  T* saved = static_cast<T*>(args.saved.data);
  for (int64_t index = 0; index < problem.batch; ++index) {
    const StandardRegion region(args, index);
    region.clear_other_queries(args.dq);
    region.clear_other_keys(args.dk);
    region.clear_other_keys(args.dv);
    if (!region.empty()) backward_region(ctx, kernels, workspace, region, dbias, saved);
    const Visibility& v = region.sequence.visibility;
    if (saved != nullptr) saved += problem.heads_q * v.seq_q * v.seq_k;
  }
}

template <const KernelTable<StandardKernels>& kKernels>
void forward(Context& ctx, const AttentionForward& args) {
  with_f32_or_bf16(args.q.dtype,
                   [&](auto type) { run_forward(ctx, kKernels.of<decltype(type)>(), args); });
}

template <const KernelTable<StandardKernels>& kKernels>
void backward(Context& ctx, const AttentionBackward& args) {
  with_f32_or_bf16(args.q.dtype,
                   [&](auto type) { run_backward(ctx, kKernels.of<decltype(type)>(), args); });
}

template <const KernelTable<StandardKernels>& kKernels, const DecodeKernelTable& kDecode>
void decode(Context& ctx, const AttentionDecode& args) {
  run_standard_decode(ctx, args, kDecode, kKernels.of<float>());
}

template <Isa kIsa>
std::string why_not(const AttentionProblem& problem, const Device& device) {
  std::string reason = why_not_f32_bf16<kIsa>(problem.dtype, device);
  if (reason.empty() && problem.dtype == DType::bf16 && !problem.is_decode &&
      cpu_info().isa < Isa::avx512) {
    reason =
        fmt::format("oneDNN multiplies bf16 from avx512 on, this CPU offers {}", cpu_info().isa);
  }
  return reason;
}

template <Isa kIsa, const KernelTable<StandardKernels>& kKernels, const DecodeKernelTable& kDecode>
constexpr AttentionImpl row(std::string_view name) {
  return {.name = name,
          .algorithm = Algorithm::standard,
          .why_not = &why_not<kIsa>,
          .saved_bytes = &saved_bytes,
          .workspace_bytes = &workspace_bytes,
          .forward = &forward<kKernels>,
          .backward = &backward<kKernels>,
          .decode = &decode<kKernels, kDecode>};
}

}  // namespace

std::span<const AttentionImpl> attention_impls_cpu_standard() {
  static constexpr AttentionImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::standard_kernels, avx512_bf16::decode_kernels>(
          "cpu_standard_avx512_bf16"),
      row<Isa::avx512, avx512::standard_kernels, avx512::decode_kernels>("cpu_standard_avx512"),
      row<Isa::avx2, avx2::standard_kernels, avx2::decode_kernels>("cpu_standard_avx2"),
      row<Isa::scalar, scalar::standard_kernels, scalar::decode_kernels>("cpu_standard_scalar"),
  };
  return kRows;
}

}  // namespace strobe
