#include "strobe/ops/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "strobe/ops/attention/impls.h"

namespace strobe {
namespace {

constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kHeadDimStep = 8;

// One of q, k, v and what is like them.
void check_bthd(const char* name, const Tensor& x, const Shape& shape, DType dtype) {
  check_tensor(name, x, dtype, shape);
  check(x.strides[3] == 1, name, " has stride ", x.strides[3],
        " in its last dimension, head_dim must be contiguous");
}

void check_i32_vector(const char* name, const Tensor& x, int64_t size) {
  check_tensor(name, x, DType::i32, {size});
  check(x.is_contiguous(), name, " has stride ", x.strides[0], ", must be contiguous");
}

// Whether the values of x may be read here: those in a GPU's memory are checked by nobody.
bool is_readable(const Tensor& x) { return x.device == DeviceKind::cpu; }

// What all passes share.
void check_types_and_heads(DType dtype, int64_t heads_q, const char* k_name, int64_t heads_kv,
                           int64_t head_dim) {
  check(dtype != DType::i32, "q is ", dtype, ", allowed are f32, f16 and bf16");
  check(head_dim >= kHeadDimStep && head_dim <= kMaxHeadDim && head_dim % kHeadDimStep == 0,
        "head_dim is ", head_dim, ", allowed are the multiples of ", kHeadDimStep, " from ",
        kHeadDimStep, " to ", kMaxHeadDim);
  check(heads_q >= 1, "q has ", heads_q, " heads, must have at least 1");
  check(heads_kv >= 1 && heads_q % heads_kv == 0, k_name, " has ", heads_kv,
        " heads, which must divide q's ", heads_q);
}

void check_positions(const char* name, const Tensor& x, int64_t batch, int64_t length) {
  if (!x.has_data()) return;
  check_i32_vector(name, x, batch);
  if (!is_readable(x)) return;
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t position = x.as<int32_t>()[b];
    check(position >= 0 && position <= length, name, "[", b, "] is ", position,
          ", allowed is 0 to ", length);
  }
}

void check_cu_seqlens(const char* name, const Tensor& x, int64_t total) {
  check(x.rank() == 1 && x.shape[0] >= 1, name, " has shape ", x.shape,
        ", expected [sequences + 1]");
  check_i32_vector(name, x, x.shape[0]);
  check(x.shape[0] > 1 || total == 0, name, " has no sequences, the rows to share out are ", total);
  if (!is_readable(x)) return;
  const auto* values = x.as<int32_t>();
  const int64_t last = x.shape[0] - 1;
  check(values[0] == 0, name, "[0] is ", values[0], ", must be 0");
  for (int64_t s = 0; s < last; ++s) {
    check(values[s] <= values[s + 1], name, "[", s + 1, "] is ", values[s + 1],
          ", less than the value before, ", values[s]);
  }
  check(values[last] == total, name, " ends with ", values[last], ", the rows to share out are ",
        total);
}

template <class Args>
void validate_packing(const Args& a) {
  const Tensor &cu_q = a.cu_seqlens_q, &cu_k = a.cu_seqlens_k;
  check(cu_q.has_data() == cu_k.has_data(), "cu_seqlens_", cu_q.has_data() ? "k" : "q",
        " is absent, packed sequences need both cu_seqlens_q and cu_seqlens_k");
  if (!cu_q.has_data()) return;
  check(a.q.shape[0] == 1, "q has batch ", a.q.shape[0], ", packed sequences need batch 1");
  check(cu_q.shape == cu_k.shape, "cu_seqlens_k has shape ", cu_k.shape, ", cu_seqlens_q has ",
        cu_q.shape);
  check_cu_seqlens("cu_seqlens_q", cu_q, a.q.shape[1]);
  check_cu_seqlens("cu_seqlens_k", cu_k, a.k.shape[1]);
  const AttentionPadding& p = a.padding;
  check(!p.key_begin.has_data() && !p.key_end.has_data() && !p.query_begin.has_data() &&
            !p.query_end.has_data(),
        "padding is given with cu_seqlens, packed sequences have none");
  check(!a.bias.has_data(), "bias is given with cu_seqlens, packed sequences have none");
}

void validate_bias(const Tensor& bias, const Shape& scores) {
  if (!bias.has_data()) return;
  check(bias.dtype == DType::f32, "bias is ", bias.dtype, ", must be f32");
  bool fits = bias.rank() == 4 && bias.shape[3] == scores[3];
  for (int d = 0; fits && d < 3; ++d) fits = bias.shape[d] == 1 || bias.shape[d] == scores[d];
  check(fits, "bias has shape ", bias.shape, ", expected ", scores,
        ", where each but the last may be 1");
  check(bias.strides[3] == 1, "bias has stride ", bias.strides[3],
        " in its last dimension, keys must be contiguous");
}

void validate_mask(const Mask& mask) {
  check(mask.left >= 0, "mask window left is ", mask.left, ", must be at least 0");
  check(mask.right >= 0, "mask window right is ", mask.right, ", must be at least 0");
}

// What forward and backward share.
template <class Args>
void validate_common(const Context& ctx, const Args& a) {
  for (const auto& [name, x] : {std::pair{"q", a.q}, {"k", a.k}, {"v", a.v}}) {
    check(x.has_data(), name, " is absent");
    check(x.rank() == 4, name, " has shape ", x.shape, ", expected [batch, time, heads, head_dim]");
  }
  const DType dtype = a.q.dtype;
  const int64_t batch = a.q.shape[0], seq_q = a.q.shape[1], heads_q = a.q.shape[2];
  const int64_t head_dim = a.q.shape[3], seq_k = a.k.shape[1], heads_kv = a.k.shape[2];
  check_types_and_heads(dtype, heads_q, "k", heads_kv, head_dim);
  check_bthd("q", a.q, {batch, seq_q, heads_q, head_dim}, dtype);
  check_bthd("k", a.k, {batch, seq_k, heads_kv, head_dim}, dtype);
  check_bthd("v", a.v, {batch, seq_k, heads_kv, head_dim}, dtype);
  check_bthd("out", a.out, a.q.shape, dtype);
  check_tensor("lse", a.lse, DType::f32, {batch, heads_q, seq_q});
  check(a.lse.is_contiguous(), "lse has strides ", a.lse.strides, ", must be contiguous");
  check(std::isfinite(a.scale), "scale is ", a.scale, ", must be finite");
  check_on_device(ctx, {{"q", a.q},
                        {"k", a.k},
                        {"v", a.v},
                        {"out", a.out},
                        {"lse", a.lse},
                        {"bias", a.bias},
                        {"key_begin", a.padding.key_begin},
                        {"key_end", a.padding.key_end},
                        {"query_begin", a.padding.query_begin},
                        {"query_end", a.padding.query_end},
                        {"cu_seqlens_q", a.cu_seqlens_q},
                        {"cu_seqlens_k", a.cu_seqlens_k},
                        {"saved", a.saved}});
  validate_mask(a.mask);
  check_positions("key_begin", a.padding.key_begin, batch, seq_k);
  check_positions("key_end", a.padding.key_end, batch, seq_k);
  check_positions("query_begin", a.padding.query_begin, batch, seq_q);
  check_positions("query_end", a.padding.query_end, batch, seq_q);
  validate_bias(a.bias, {batch, heads_q, seq_q, seq_k});
  validate_packing(a);
}

void validate_decode(const Context& ctx, const AttentionDecode& a) {
  for (const auto& [name, x] :
       {std::pair{"q", a.q}, {"k_cache", a.k_cache}, {"v_cache", a.v_cache}}) {
    check(x.has_data(), name, " is absent");
    check(x.rank() == 4, name, " has shape ", x.shape, ", expected [batch, time, heads, head_dim]");
  }
  const int64_t batch = a.q.shape[0], heads_q = a.q.shape[2], head_dim = a.q.shape[3];
  const int64_t capacity = a.k_cache.shape[1], heads_kv = a.k_cache.shape[2];
  const DType dtype = a.q.dtype, cache_dtype = a.k_cache.dtype;
  check_types_and_heads(dtype, heads_q, "k_cache", heads_kv, head_dim);
  if (dtype == DType::f32) {
    check(cache_dtype != DType::i32, "k_cache is ", cache_dtype,
          ", allowed with q in f32 are f32, f16 and bf16");
  } else {
    check(cache_dtype == dtype, "k_cache is ", cache_dtype, ", allowed with q in ", dtype, " is ",
          dtype);
  }
  check_bthd("q", a.q, a.q.shape, dtype);
  check_bthd("k_cache", a.k_cache, {batch, capacity, heads_kv, head_dim}, cache_dtype);
  check_bthd("v_cache", a.v_cache, a.k_cache.shape, cache_dtype);
  check_bthd("out", a.out, a.q.shape, dtype);
  check(std::isfinite(a.scale), "scale is ", a.scale, ", must be finite");
  check_on_device(ctx, {{"q", a.q},
                        {"k_cache", a.k_cache},
                        {"v_cache", a.v_cache},
                        {"cache_lengths", a.cache_lengths},
                        {"out", a.out}});
  check(a.mask.kind != MaskKind::full, "mask is full, allowed are causal and window");
  validate_mask(a.mask);
  check(a.cache_lengths.has_data(), "cache_lengths is absent");
  check_positions("cache_lengths", a.cache_lengths, batch, capacity);
}

void validate_saved(const Tensor& saved, const AttentionImpl& impl, int64_t needed) {
  check(static_cast<int64_t>(saved.bytes()) >= needed, "saved has ", saved.bytes(), " bytes, ",
        impl.name, " keeps ", needed);
  check(saved.is_contiguous(), "saved has strides ", saved.strides, ", must be contiguous");
}

// x is [batch, time, heads, head_dim]. A dimension of one entry is never stepped along, whatever
// its stride; nor is an empty tensor.
bool fits_copy_engine(const Tensor& x) {
  constexpr int64_t kAlignment = 16, kStrideEnd = int64_t{1} << 40;
  bool fits = reinterpret_cast<uintptr_t>(x.data) % kAlignment == 0;
  if (x.numel() == 0) return fits;
  const auto element = static_cast<int64_t>(size_of(x.dtype));
  for (int d = 0; d < 3; ++d) {
    const int64_t stride = x.strides[d];
    fits &= x.shape[d] == 1 ||
            (stride > 0 && stride < kStrideEnd / element && stride * element % kAlignment == 0);
  }
  return fits;
}

template <class Args>
AttentionProblem problem_of_any(const Context& ctx, const Args& a) {
  check_types_and_heads(a.q.dtype, a.q.shape[2], "k", a.k.shape[2], a.q.shape[3]);
  AttentionProblem problem = {
      .batch = a.q.shape[0],
      .seq_q = a.q.shape[1],
      .seq_k = a.k.shape[1],
      .heads_q = a.q.shape[2],
      .heads_kv = a.k.shape[2],
      .head_dim = a.q.shape[3],
      .dtype = a.q.dtype,
      .mask = a.mask,
      .has_dropout = a.dropout.active(),
      .has_bias = a.bias.has_data(),
      .has_padding = a.padding.key_begin.has_data() || a.padding.key_end.has_data() ||
                     a.padding.query_begin.has_data() || a.padding.query_end.has_data(),
      .is_packed = a.cu_seqlens_q.has_data(),
      .fits_copy_engine = fits_copy_engine(a.q) && fits_copy_engine(a.k) && fits_copy_engine(a.v) &&
                          fits_copy_engine(a.out),
      .is_deterministic = ctx.is_deterministic(),
  };
  if (!problem.is_packed) return problem;
  problem.batch = a.cu_seqlens_q.shape[0] - 1;
  if (!is_readable(a.cu_seqlens_q)) {
    problem.packed_pairs = problem.packed_pairs_max = problem.seq_q * problem.seq_k;
    return problem;
  }
  const auto* cu_q = a.cu_seqlens_q.template as<int32_t>();
  const auto* cu_k = a.cu_seqlens_k.template as<int32_t>();
  for (int64_t s = 0; s < problem.batch; ++s) {
    const int64_t pairs = int64_t{cu_q[s + 1] - cu_q[s]} * (cu_k[s + 1] - cu_k[s]);
    problem.packed_pairs += pairs;
    problem.packed_pairs_max = std::max(problem.packed_pairs_max, pairs);
  }
  return problem;
}

}  // namespace

AttentionProblem problem_of(const Context& ctx, const AttentionForward& args) {
  AttentionProblem problem = problem_of_any(ctx, args);
  problem.needs_backward = args.saved.has_data();
  return problem;
}

AttentionProblem problem_of(const Context& ctx, const AttentionBackward& args) {
  AttentionProblem problem = problem_of_any(ctx, args);
  problem.needs_backward = true;
  problem.has_dbias = args.dbias.has_data();
  for (const Tensor& x : {args.dout, args.dq, args.dk, args.dv}) {
    problem.fits_copy_engine &= fits_copy_engine(x);
  }
  return problem;
}

AttentionProblem problem_of(const Context& ctx, const AttentionDecode& args) {
  check_types_and_heads(args.q.dtype, args.q.shape[2], "k_cache", args.k_cache.shape[2],
                        args.q.shape[3]);
  return {.batch = args.q.shape[0],
          .seq_q = args.q.shape[1],
          .seq_k = args.k_cache.shape[1],
          .heads_q = args.q.shape[2],
          .heads_kv = args.k_cache.shape[2],
          .head_dim = args.q.shape[3],
          .dtype = args.q.dtype,
          .mask = args.mask,
          .is_decode = true,
          .is_deterministic = ctx.is_deterministic()};
}

std::span<const AttentionImpl> attention_impls() {
  static const std::vector<AttentionImpl> rows = [] {
    std::vector<AttentionImpl> all;
    for (const auto& impls : {attention_impls_cuda(), attention_impls_cpu()}) {
      all.insert(all.end(), impls.begin(), impls.end());
    }
    return all;
  }();
  return rows;
}

const AttentionImpl& select_attention(const Context& ctx, const AttentionProblem& problem) {
  const Wish& wish = ctx.wish("attention");
  if (wish.implementation.empty() && wish.algorithm == Algorithm::any) {
    for (const AttentionImpl& impl : attention_impls()) {
      if (impl.why_slower != nullptr && !impl.why_slower(problem).empty()) continue;
      if (impl.why_not(problem, ctx.device()).empty()) return impl;
    }
  }
  return select("attention", attention_impls(), problem, ctx.device(), wish);
}

std::vector<AttentionVerdict> explain_attention(const Context& ctx,
                                                const AttentionProblem& problem) {
  const AttentionImpl& chosen = select_attention(ctx, problem);
  const Wish& wish = ctx.wish("attention");
  std::vector<AttentionVerdict> verdicts;
  const bool is_free = wish.implementation.empty() && wish.algorithm == Algorithm::any;
  std::string why_chosen;
  for (const AttentionImpl& impl : attention_impls()) {
    AttentionVerdict verdict = {.impl = &impl, .can_run = false, .is_chosen = &impl == &chosen};
    verdict.reason = impl.why_not(problem, ctx.device());
    verdict.can_run = verdict.reason.empty();
    if (verdict.is_chosen) {
      verdict.reason =
          why_chosen.empty() ? "first in the order of preference that can run it" : why_chosen;
    } else if (verdict.can_run) {
      if (is_free && impl.why_slower != nullptr) verdict.reason = impl.why_slower(problem);
      if (why_chosen.empty()) why_chosen = verdict.reason;
      if (verdict.reason.empty()) verdict.reason = fmt::format("{} is preferred", chosen.name);
    }
    verdicts.push_back(verdict);
  }
  return verdicts;
}

Wish attention_wish(std::string_view name) {
  for (Algorithm algorithm : {Algorithm::any, Algorithm::standard, Algorithm::flash}) {
    if (name == to_text(algorithm)) return {.algorithm = algorithm, .implementation = {}};
  }
  std::string known = "any, standard, flash";
  for (const AttentionImpl& impl : attention_impls()) {
    if (name == impl.name)
      return {.algorithm = Algorithm::any, .implementation = std::string(name)};
    known += fmt::format(", {}", impl.name);
  }
  throw_error(fmt::format("attention is '{}', allowed are {}", name, known));
}

int64_t attention_saved_bytes(const Context& ctx, const AttentionProblem& problem) {
  return select_attention(ctx, problem).saved_bytes(problem);
}

void attention_forward(Context& ctx, const AttentionForward& args) {
  const Context::Timer timer(ctx, "attention");
  validate_common(ctx, args);
  const AttentionProblem problem = problem_of(ctx, args);
  const AttentionImpl& impl = select_attention(ctx, problem);
  if (args.saved.has_data()) validate_saved(args.saved, impl, impl.saved_bytes(problem));
  impl.forward(ctx, args);
}

void attention_backward(Context& ctx, const AttentionBackward& args) {
  const Context::Timer timer(ctx, "attention");
  validate_common(ctx, args);
  check_bthd("dout", args.dout, args.q.shape, args.q.dtype);
  check_bthd("dq", args.dq, args.q.shape, args.q.dtype);
  check_bthd("dk", args.dk, args.k.shape, args.q.dtype);
  check_bthd("dv", args.dv, args.v.shape, args.q.dtype);
  check_on_device(ctx, {{"dout", args.dout},
                        {"dq", args.dq},
                        {"dk", args.dk},
                        {"dv", args.dv},
                        {"dbias", args.dbias}});
  if (args.dbias.has_data()) {
    check(args.bias.has_data(), "dbias is given without a bias");
    check_contiguous("dbias", args.dbias, DType::f32, args.bias.shape);
  }
  const AttentionProblem problem = problem_of(ctx, args);
  const AttentionImpl& impl = select_attention(ctx, problem);
  const int64_t needed = impl.saved_bytes(problem);
  check(needed == 0 || args.saved.has_data(), "saved is absent, ", impl.name, " keeps ", needed,
        " bytes from forward to backward");
  if (args.saved.has_data()) validate_saved(args.saved, impl, needed);
  impl.backward(ctx, args);
}

void attention_decode(Context& ctx, const AttentionDecode& args) {
  const Context::Timer timer(ctx, "attention");
  validate_decode(ctx, args);
  select_attention(ctx, problem_of(ctx, args)).decode(ctx, args);
}

}  // namespace strobe
