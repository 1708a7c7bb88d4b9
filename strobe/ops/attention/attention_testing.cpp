#include "strobe/ops/attention/attention_testing.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "strobe/core/parallel.h"
#include "tests/testkit/compare.h"

namespace strobe::testing {
namespace {

Mask mask_of(const CaseLine& line) {
  const std::string kind = value_in_case(line.text(), "mask");
  if (kind == "full") return full();
  if (kind == "causal") return causal();
  check(kind == "window", "the case has mask=", kind, ", allowed are full, causal, window");
  return window(line.number("left"), line.number("right"));
}

std::vector<double> normal_values(Random& random, int64_t count, DType dtype) {
  std::vector<double> values(count);
  for (double& x : values) x = rounded(random.normal(), dtype);
  return values;
}

// NaN in every row of sequence `b` outside [begin, end).
void spoil_padding(std::vector<double>& values, int64_t b, int64_t rows, int64_t width,
                   double begin, double end) {
  for (int64_t t = 0; t < rows; ++t) {
    if (t >= begin && t < end) continue;
    std::fill_n(values.begin() + (b * rows + t) * width, width, NAN);
  }
}

// Elements between rows that a layout leaves out.
int64_t gap_of(int64_t layout) { return layout == 1 ? 8 : layout == 3 ? 1 : 0; }

std::vector<double> part(const std::vector<double>& values, int64_t first, int64_t count,
                         int64_t width) {
  return {values.begin() + first * width, values.begin() + (first + count) * width};
}

// Whether the implementation that the context asks for has the bias' gradient.
bool gives_dbias(const Context& ctx, const AttentionCase& c) {
  const AttentionProblem problem = {.dtype = c.dtype, .has_bias = true, .has_dbias = true};
  for (const AttentionImpl& impl : attention_impls()) {
    if (impl.name != ctx.wish("attention").implementation) continue;
    return impl.why_not(problem, ctx.device()).empty();
  }
  return false;
}

void append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

AttentionCase::AttentionCase(const std::string& text) : line(text) {
  const CaseLine values(text);
  batch = values.number("b");
  seq_q = values.number("tq");
  seq_k = values.number("tk");
  heads_q = values.number("hq");
  heads_kv = values.number("hkv");
  head_dim = values.number("d");
  dtype = values.dtype();
  mask = mask_of(values);
  padding = values.number("padding");
  bias = values.number("bias");
  dropout = values.real("p");
  is_packed = values.is_set("packed");
  layout = values.number("layout");
  threads = static_cast<int>(values.number("threads"));
  seed = static_cast<uint32_t>(values.number("seed"));
}

AttentionData::AttentionData(const AttentionCase& c) : case_(c) {
  Random random(PhiloxKey{{c.seed, 0xA77E}});
  draw_lengths(random);
  scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  dropout = Dropout::with(c.dropout, {{c.seed, 0xD409}});
  const int64_t size_q = batch * rows_q * c.heads_q * c.head_dim;
  const int64_t size_k = batch * rows_k * c.heads_kv * c.head_dim;
  q = normal_values(random, size_q, c.dtype);
  dout = normal_values(random, size_q, c.dtype);
  k = normal_values(random, size_k, c.dtype);
  v = normal_values(random, size_k, c.dtype);
  if (c.bias != 0) draw_bias(random);
  if (c.padding != 0) draw_padding(random);
}

void AttentionData::draw_lengths(Random& random) {
  const AttentionCase& c = case_;
  const auto length = [&](int64_t most) {
    if (!c.is_packed) return most;
    return random.below(8) == 0 ? 0 : static_cast<int64_t>(random.below(most + 1));
  };
  cu_q = cu_k = {0};
  for (int64_t s = 0; s < c.batch; ++s) {
    cu_q.push_back(cu_q.back() + static_cast<double>(length(c.seq_q)));
    cu_k.push_back(cu_k.back() + static_cast<double>(length(c.seq_k)));
  }
  if (c.layout == 2) cu_k = cu_q;  // one buffer: as many keys as queries
  batch = c.is_packed ? 1 : c.batch;
  rows_q = c.is_packed ? static_cast<int64_t>(cu_q.back()) : c.seq_q;
  rows_k = c.is_packed ? static_cast<int64_t>(cu_k.back()) : c.seq_k;
}

void AttentionData::draw_bias(Random& random) {
  const AttentionCase& c = case_;
  const int64_t broadcast = c.bias - 1;
  bias_shape = {broadcast & 1 ? 1 : c.batch, broadcast & 2 ? 1 : c.heads_q,
                broadcast & 4 ? 1 : c.seq_q, c.seq_k};
  bias = normal_values(random, bias_shape.numel(), DType::f32);
  for (double& x : bias) x = random.below(6) == 0 ? -INFINITY : x;
  if (bias_shape[2] > 1) std::fill_n(bias.begin(), c.seq_k, -INFINITY);  // a row that sees nothing
}

void AttentionData::draw_padding(Random& random) {
  const AttentionCase& c = case_;
  const int64_t width_q = c.heads_q * c.head_dim, width_k = c.heads_kv * c.head_dim;
  const auto position = [&](int64_t length) {
    return static_cast<double>(random.below(length + 1));
  };
  for (int64_t b = 0; b < c.batch; ++b) {
    key_begin.push_back(c.padding >= 2 ? position(c.seq_k) : 0);
    key_end.push_back(c.padding == 2 ? static_cast<double>(c.seq_k) : position(c.seq_k));
    query_begin.push_back(c.padding == 3 ? position(c.seq_q) : 0);
    query_end.push_back(c.padding == 3 ? position(c.seq_q) : static_cast<double>(c.seq_q));
    spoil_padding(k, b, rows_k, width_k, key_begin.back(), key_end.back());
    spoil_padding(v, b, rows_k, width_k, key_begin.back(), key_end.back());
    spoil_padding(q, b, rows_q, width_q, query_begin.back(), query_end.back());
    spoil_padding(dout, b, rows_q, width_q, query_begin.back(), query_end.back());
  }
}

AttentionReferenceCase AttentionData::sequence(int64_t s) const {
  const AttentionCase& c = case_;
  const auto first_q = static_cast<int64_t>(cu_q[s]), first_k = static_cast<int64_t>(cu_k[s]);
  AttentionReferenceCase one = {.seq_q = static_cast<int64_t>(cu_q[s + 1]) - first_q,
                                .seq_k = static_cast<int64_t>(cu_k[s + 1]) - first_k,
                                .heads_q = c.heads_q,
                                .heads_kv = c.heads_kv,
                                .head_dim = c.head_dim,
                                .scale = scale,
                                .is_causal = c.mask.kind == MaskKind::causal,
                                .is_window = c.mask.kind == MaskKind::window,
                                .left = c.mask.left,
                                .right = c.mask.right,
                                .sequence = s,
                                .dropout_threshold = dropout.threshold,
                                .dropout_key = {dropout.key.word[0], dropout.key.word[1]}};
  if (c.padding != 0) {
    one.query_begin = static_cast<int64_t>(query_begin[s]);
    one.query_end = static_cast<int64_t>(query_end[s]);
    one.key_begin = static_cast<int64_t>(key_begin[s]);
    one.key_end = static_cast<int64_t>(key_end[s]);
  }
  const int64_t width_q = c.heads_q * c.head_dim, width_k = c.heads_kv * c.head_dim;
  one.q = part(q, first_q, one.seq_q, width_q);
  one.dout = part(dout, first_q, one.seq_q, width_q);
  one.k = part(k, first_k, one.seq_k, width_k);
  one.v = part(v, first_k, one.seq_k, width_k);
  for (int64_t h = 0; c.bias != 0 && h < c.heads_q; ++h) {
    for (int64_t i = 0; i < c.seq_q; ++i) {
      const int64_t b_index = bias_shape[0] == 1 ? 0 : s, h_index = bias_shape[1] == 1 ? 0 : h;
      const int64_t i_index = bias_shape[2] == 1 ? 0 : i;
      append(one.bias,
             part(bias, (b_index * bias_shape[1] + h_index) * bias_shape[2] + i_index, 1, c.seq_k));
    }
  }
  return one;
}

// Of every sequence's [Hq, Tq, Tk], summed over the dimensions in which the bias is broadcast.
std::vector<double> AttentionData::sum_of_dbias(
    const std::vector<AttentionReferenceResult>& sequences,
    std::vector<double> AttentionReferenceResult::*member) const {
  const AttentionCase& c = case_;
  std::vector<double> sums(c.bias == 0 ? 0 : bias_shape.numel(), 0);
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::vector<double>& one = sequences[s].*member;
    for (size_t element = 0; element < one.size(); ++element) {
      const int64_t j = static_cast<int64_t>(element) % c.seq_k;
      const int64_t i = static_cast<int64_t>(element) / c.seq_k % c.seq_q;
      const int64_t h = static_cast<int64_t>(element) / c.seq_k / c.seq_q;
      const int64_t b_index = bias_shape[0] == 1 ? 0 : static_cast<int64_t>(s);
      const int64_t row = (b_index * bias_shape[1] + (bias_shape[1] == 1 ? 0 : h)) * bias_shape[2] +
                          (bias_shape[2] == 1 ? 0 : i);
      sums[row * c.seq_k + j] += one[element];
    }
  }
  return sums;
}

AttentionReferenceResult AttentionData::join(
    const std::vector<AttentionReferenceResult>& sequences) const {
  AttentionReferenceResult all;
  for (const AttentionReferenceResult& one : sequences) {
    append(all.out, one.out);
    append(all.dq, one.dq);
    append(all.dk, one.dk);
    append(all.dv, one.dv);
    all.score_terms = std::max(all.score_terms, one.score_terms);
    all.gradient_terms = std::max(all.gradient_terms, one.gradient_terms);
    if (!case_.is_packed) append(all.lse, one.lse);
  }
  all.dbias = sum_of_dbias(sequences, &AttentionReferenceResult::dbias);
  all.dbias_terms = sum_of_dbias(sequences, &AttentionReferenceResult::dbias_terms);
  for (int64_t h = 0; case_.is_packed && h < case_.heads_q; ++h) {  // [1, Hq, ΣTq]
    for (const AttentionReferenceResult& one : sequences) {
      append(all.lse, part(one.lse, h, 1, static_cast<int64_t>(one.lse.size()) / case_.heads_q));
    }
  }
  return all;
}

const AttentionExpected& AttentionData::expected() const {
  if (cache_.value) return *cache_.value;
  std::vector<AttentionReferenceResult> exact, plain;
  for (int64_t s = 0; s < case_.batch; ++s) {
    const AttentionReferenceCase one = sequence(s);
    exact.push_back(attention_reference(one));
    plain.push_back(attention_plain(one, case_.dtype));
  }
  return cache_.value.emplace(AttentionExpected{join(exact), join(plain)});
}

Tensor AttentionTensors::strided(Context& ctx, const Shape& shape,
                                 std::vector<Tensor>& storages) const {
  const StridedTensor tensor =
      allocate_strided(ctx.arena(), case_.dtype, shape, gap_of(case_.layout));
  storages.push_back(tensor.storage);
  return tensor.view;
}

void AttentionTensors::place(Context& ctx, Tensor* q, Tensor* k, Tensor* v,
                             std::vector<Tensor>& storages) const {
  const int64_t batch = data_.batch, heads_q = case_.heads_q, heads_kv = case_.heads_kv;
  if (case_.layout == 2) {
    const Tensor qkv =
        strided(ctx, {batch, data_.rows_q, heads_q + 2 * heads_kv, case_.head_dim}, storages);
    *q = qkv.slice(2, 0, heads_q);
    *k = qkv.slice(2, heads_q, heads_q + heads_kv);
    *v = qkv.slice(2, heads_q + heads_kv, heads_q + 2 * heads_kv);
    return;
  }
  *q = strided(ctx, {batch, data_.rows_q, heads_q, case_.head_dim}, storages);
  *k = strided(ctx, {batch, data_.rows_k, heads_kv, case_.head_dim}, storages);
  *v = strided(ctx, {batch, data_.rows_k, heads_kv, case_.head_dim}, storages);
}

AttentionTensors::AttentionTensors(Context& ctx, const AttentionCase& c, const AttentionData& data)
    : case_(c), data_(data) {
  const auto filled = [&](DType dtype, const Shape& shape, const std::vector<double>& values) {
    const Tensor tensor = ctx.arena().allocate(MemoryUse::activations, dtype, shape);
    fill(tensor, values);
    inputs_.push_back(tensor);
    return tensor;
  };
  const auto integers = [&](const std::vector<double>& values) {
    return values.empty() ? Tensor()
                          : filled(DType::i32, {static_cast<int64_t>(values.size())}, values);
  };
  AttentionForward& f = forward;
  place(ctx, &f.q, &f.k, &f.v, inputs_);
  fill(f.q, data.q);
  fill(f.k, data.k);
  fill(f.v, data.v);
  f.out = strided(ctx, f.q.shape, outputs_);
  f.lse = ctx.arena().allocate(MemoryUse::activations, DType::f32,
                               {data.batch, c.heads_q, data.rows_q});
  f.scale = data.scale;
  f.mask = c.mask;
  f.padding = {integers(data.key_begin), integers(data.key_end), integers(data.query_begin),
               integers(data.query_end)};
  if (c.bias != 0) f.bias = filled(DType::f32, data.bias_shape, data.bias);
  f.dropout = data.dropout;
  if (c.is_packed) {
    f.cu_seqlens_q = integers(data.cu_q);
    f.cu_seqlens_k = integers(data.cu_k);
  }

  AttentionBackward& b = backward;
  b = {.q = f.q,
       .k = f.k,
       .v = f.v,
       .out = f.out,
       .lse = f.lse,
       .scale = f.scale,
       .mask = f.mask,
       .padding = f.padding,
       .bias = f.bias,
       .dropout = f.dropout,
       .cu_seqlens_q = f.cu_seqlens_q,
       .cu_seqlens_k = f.cu_seqlens_k};
  b.dout = strided(ctx, f.q.shape, inputs_);
  fill(b.dout, data.dout);
  place(ctx, &b.dq, &b.dk, &b.dv, outputs_);
  if (c.wants_dbias() && gives_dbias(ctx, c)) {
    b.dbias = ctx.arena().allocate(MemoryUse::gradients, DType::f32, data.bias_shape);
  }

  const int64_t saved = attention_saved_bytes(ctx, problem_of(ctx, b));
  if (saved > 0) {
    f.saved = ctx.arena().allocate(MemoryUse::activations, DType::i32, {(saved + 3) / 4});
    b.saved = f.saved;
  }
}

void AttentionTensors::poison_outputs() const {
  for (const Tensor& storage : outputs_) poison(storage);
  poison(forward.lse);
  if (backward.dbias.has_data()) poison(backward.dbias);
  if (forward.saved.has_data()) poison(forward.saved);
}

AttentionOutputs AttentionTensors::take_outputs() const {
  AttentionOutputs outputs = {.out = to_doubles(forward.out),
                              .lse = to_doubles(forward.lse),
                              .dq = to_doubles(backward.dq),
                              .dk = to_doubles(backward.dk),
                              .dv = to_doubles(backward.dv),
                              .dbias = {}};
  if (backward.dbias.has_data()) outputs.dbias = to_doubles(backward.dbias);
  expect_gaps_untouched();
  return outputs;
}

void AttentionTensors::expect_gaps_untouched() const {
  for (const Tensor& view : {forward.out, backward.dq, backward.dk, backward.dv}) poison(view);
  for (const Tensor& storage : outputs_) {
    for (unsigned char byte : snapshot(storage)) {
      ASSERT_EQ(byte, 0xff) << "the gap between two rows of an output was written";
    }
  }
}

AttentionOutputs AttentionTensors::run(Context& ctx) {
  const InputsUnchanged unchanged(inputs_);
  poison_outputs();
  attention_forward(ctx, forward);
  const std::vector<double> out = to_doubles(forward.out);
  {
    std::vector<Tensor> kept = {forward.lse};
    if (forward.saved.has_data()) kept.push_back(forward.saved);
    const InputsUnchanged kept_unchanged(kept);
    attention_backward(ctx, backward);
  }
  AttentionOutputs outputs = take_outputs();
  EXPECT_TRUE(outputs.out == out) << "backward wrote out";
  return outputs;
}

AttentionProblem problem_of(const AttentionCase& c) {
  return {.batch = c.batch,
          .seq_q = c.seq_q,
          .seq_k = c.seq_k,
          .heads_q = c.heads_q,
          .heads_kv = c.heads_kv,
          .head_dim = c.head_dim,
          .dtype = c.dtype,
          .mask = c.mask,
          .has_dropout = c.dropout > 0,
          .has_bias = c.bias != 0,
          .has_padding = c.padding != 0,
          .is_packed = c.is_packed,
          .needs_backward = true};
}

void for_all_implementations(const std::vector<std::string>& lines, const AttentionBody& body) {
  const std::vector<std::string> cases =
      options().only_case.empty() ? lines : std::vector<std::string>{options().only_case};
  struct ThreadsRestored {
    int before = thread_count();
    ~ThreadsRestored() { set_thread_count(before); }
  } restored;
  struct Runs {
    std::unique_ptr<Context> ctx;
    int64_t count = 0;
    std::string reason;  // why one was skipped
  };
  std::map<std::string_view, Runs> runs;
  for (const AttentionImpl& impl : attention_impls()) {
    if (!options().only_impl.empty() && options().only_impl != impl.name) continue;
    if (is_for_gpu(impl.name) != (options().device.kind == DeviceKind::cuda)) continue;
    runs[impl.name].ctx = std::make_unique<Context>(options().device, ArenaOptions{.poison = true});
    runs[impl.name].ctx->prefer("attention", {.implementation = std::string(impl.name)});
  }
  for (const std::string& line : cases) {
    const AttentionCase c(line);
    const AttentionData data(c);
    set_thread_count(c.threads);
    for (const AttentionImpl& impl : attention_impls()) {
      if (!runs.contains(impl.name)) continue;
      Runs& of_impl = runs[impl.name];
      Context& ctx = *of_impl.ctx;
      const std::string reason = impl.why_not(problem_of(c), ctx.device());
      if (!reason.empty()) {
        of_impl.reason = reason;
        continue;
      }
      SCOPED_TRACE(fmt::format("strobe_attention_test --case \"{}\" --impl {}", line, impl.name));
      const Arena::Scope scope(ctx.arena());
      body(impl, ctx, c, data);
      ctx.arena().check_guards();
      ++of_impl.count;
      if (::testing::Test::HasFailure()) return;
    }
  }
  for (const auto& [name, of_impl] : runs) {
    if (of_impl.count == 0) fmt::print("skipped {}: {}\n", name, of_impl.reason);
    EXPECT_TRUE(of_impl.count > 0 || !of_impl.reason.empty()) << name << " ran no case";
  }
}

std::vector<std::string> types_under_test() {
  if (options().device.kind == DeviceKind::cpu) return {"f32", "bf16"};
  return {"f32", "bf16", "f16"};
}

void expect_as_good_as_plain(const AttentionOutputs& actual, const AttentionCase& c,
                             const AttentionData& data) {
  using Result = AttentionReferenceResult;
  const auto& [exact, plain] = data.expected();
  // Scores are f32 sums: their rounding errors change P = exp(S − L), relatively, by as much.
  const double growth = 1 + exact.score_terms * epsilon_of(DType::f32) / epsilon_of(c.dtype) / 4;
  const auto expect = [&, &exact = exact, &plain = plain](const char* name, const auto member,
                                                          const std::vector<double>& values,
                                                          double terms) {
    for (double x : exact.*member) terms = std::max(terms, std::abs(x));
    EXPECT_TRUE(as_good_as_plain(name, values, plain.*member, exact.*member, c.head_dim, c.dtype,
                                 growth * terms));
  };
  EXPECT_TRUE(
      as_good_as_plain("lse", actual.lse, plain.lse, exact.lse, 1, DType::f32, exact.score_terms));
  expect("out", &Result::out, actual.out, 0);
  expect("dq", &Result::dq, actual.dq, exact.gradient_terms);
  expect("dk", &Result::dk, actual.dk, exact.gradient_terms);
  expect("dv", &Result::dv, actual.dv, 0);
  if (actual.dbias.empty()) return;
  const double terms = *std::max_element(exact.dbias_terms.begin(), exact.dbias_terms.end());
  EXPECT_TRUE(as_good_as_plain("dbias", actual.dbias, plain.dbias, exact.dbias, c.seq_k, c.dtype,
                               growth * terms));
}

}  // namespace strobe::testing
