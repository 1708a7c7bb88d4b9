// Attention of model width 768 over sequences of 512 to 8192: every implementation, forward and
// backward, as shares of oneDNN's f32 matrix product. Each case is checked against the definition
// on a small shape before it is timed.
#include <algorithm>
#include <cmath>
#include <memory>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_reference.h"
#include "tests/testkit/bench.h"
#include "tests/testkit/compare.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::relative_error;
using testing::time_best;
using testing::to_doubles;

constexpr int64_t kWidth = 768;  // heads · head_dim

struct Case {
  DType dtype;
  int64_t head_dim, seq;
  bool is_causal;
  double dropout;
};

// Packed QKV and its gradient, as a model has them.
struct Tensors {
  Tensor qkv, out, dout, dqkv, lse, saved;
  AttentionForward forward;
  AttentionBackward backward;

  Tensors(Context& ctx, const Case& c, int64_t seq, int64_t heads) {
    const Shape packed = {1, seq, 3 * heads, c.head_dim};
    qkv = bench_tensor(ctx, c.dtype, packed);
    dqkv = bench_tensor(ctx, c.dtype, packed);
    out = bench_tensor(ctx, c.dtype, {1, seq, heads, c.head_dim});
    dout = bench_tensor(ctx, c.dtype, {1, seq, heads, c.head_dim});
    lse = bench_tensor(ctx, DType::f32, {1, heads, seq});
    const auto part = [&](const Tensor& x, int64_t i) {
      return x.slice(2, i * heads, (i + 1) * heads);
    };
    forward = {.q = part(qkv, 0), .k = part(qkv, 1), .v = part(qkv, 2), .out = out, .lse = lse};
    forward.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    forward.mask = c.is_causal ? causal() : full();
    forward.dropout = Dropout::with(c.dropout, random_key(1, 0, 0));
    backward = {.q = forward.q,
                .k = forward.k,
                .v = forward.v,
                .out = out,
                .lse = lse,
                .dout = dout,
                .dq = part(dqkv, 0),
                .dk = part(dqkv, 1),
                .dv = part(dqkv, 2)};
    backward.scale = forward.scale;
    backward.mask = forward.mask;
    backward.dropout = forward.dropout;
    const int64_t saved_bytes = attention_saved_bytes(ctx, problem_of(ctx, backward));
    if (saved_bytes == 0) return;
    saved = ctx.arena().allocate(MemoryUse::attention, DType::f32, {(saved_bytes + 3) / 4});
    forward.saved = backward.saved = saved;
  }
};

// The largest relative error of out, dq, dk and dv on a shape that the definition can be had for.
double error_of(Context& ctx, const Case& c) {
  const Arena::Scope scope(ctx.arena());
  constexpr int64_t kSeq = 200, kHeads = 2;  // no multiple of any tile
  const Tensors t(ctx, c, kSeq, kHeads);
  attention_forward(ctx, t.forward);
  attention_backward(ctx, t.backward);
  const AttentionReferenceResult exact = attention_reference({
      .seq_q = kSeq,
      .seq_k = kSeq,
      .heads_q = kHeads,
      .heads_kv = kHeads,
      .head_dim = c.head_dim,
      .scale = t.forward.scale,
      .is_causal = c.is_causal,
      .dropout_threshold = t.forward.dropout.threshold,
      .dropout_key = {t.forward.dropout.key.word[0], t.forward.dropout.key.word[1]},
      .q = to_doubles(t.forward.q),
      .dout = to_doubles(t.dout),
      .k = to_doubles(t.forward.k),
      .v = to_doubles(t.forward.v),
  });
  return std::max({relative_error(to_doubles(t.out), exact.out),
                   relative_error(to_doubles(t.backward.dq), exact.dq),
                   relative_error(to_doubles(t.backward.dk), exact.dk),
                   relative_error(to_doubles(t.backward.dv), exact.dv)});
}

void run(benchmark::State& state, const AttentionImpl& impl, const Case& c, int threads,
         bool is_forward) {
  set_thread_count(threads);
  Context ctx;
  ctx.prefer("attention", {.implementation = std::string(impl.name)});
  const double allowed = c.dtype == DType::f32 ? 1e-5 : 2e-2;
  const double error = error_of(ctx, c);
  if (!(error <= allowed)) {
    const std::string message = fmt::format("relative error {}, allowed is {}", error, allowed);
    return state.SkipWithError(message.c_str());
  }
  const int64_t heads = kWidth / c.head_dim;
  const AttentionProblem problem = {.batch = 1,
                                    .seq_q = c.seq,
                                    .seq_k = c.seq,
                                    .heads_q = heads,
                                    .heads_kv = heads,
                                    .head_dim = c.head_dim,
                                    .dtype = c.dtype,
                                    .mask = c.is_causal ? causal() : full(),
                                    .has_dropout = c.dropout > 0,
                                    .needs_backward = true};
  const int64_t saved_bytes = impl.saved_bytes(problem), bytes = impl.workspace_bytes(problem);
  if (saved_bytes + bytes > cpu_info().memory_bytes / 2) {
    const std::string message = fmt::format("takes {} MB, more than half of this machine's memory",
                                            (saved_bytes + bytes) / 1'000'000);
    return state.SkipWithError(message.c_str());
  }
  const Tensors t(ctx, c, c.seq, heads);
  attention_forward(ctx, t.forward);
  const double pairs = static_cast<double>(c.seq) * (c.is_causal ? (c.seq + 1) / 2.0 : c.seq);
  const double flops = (is_forward ? 4 : 10) * pairs * kWidth;
  time_best(state, ctx, {.flops = flops}, [&] {
    is_forward ? attention_forward(ctx, t.forward) : attention_backward(ctx, t.backward);
  });
  state.counters["workspace_mb"] = static_cast<double>(bytes) * 1e-6;
  state.counters["saved_mb"] = static_cast<double>(saved_bytes) * 1e-6;
}

// All implementations run one case of the middle; the rest only the best one of each algorithm.
bool is_central(const Case& c) {
  return c.head_dim == 64 && c.seq == 1024 && !c.is_causal && c.dropout == 0;
}

void register_case(const Case& c) {
  std::vector<Algorithm> seen;
  for (const AttentionImpl& impl : attention_impls()) {
    if (!impl.why_not({.dtype = c.dtype}, Device{}).empty()) continue;
    const bool is_best = std::ranges::find(seen, impl.algorithm) == seen.end();
    seen.push_back(impl.algorithm);
    if (!is_best && !is_central(c)) continue;
    for (const int threads : {1, cpu_info().cores}) {
      for (const bool is_forward : {true, false}) {
        const std::string name =
            fmt::format("attention/{}/{}/d:{}/t:{}/{}/p:{}/{}/threads:{}",
                        is_forward ? "forward" : "backward", c.dtype, c.head_dim, c.seq,
                        c.is_causal ? "causal" : "full", c.dropout, impl.name, threads);
        benchmark::RegisterBenchmark(
            name.c_str(),
            [=, &impl](benchmark::State& state) { run(state, impl, c, threads, is_forward); })
            ->UseRealTime()
            ->MinTime(0.3);
      }
    }
  }
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t head_dim : {64, 128}) {
      for (const int64_t seq : {512, 1024, 2048, 4096, 8192}) {
        for (const bool is_causal : {false, true}) {
          for (const double dropout : {0.0, 0.1}) {
            register_case({dtype, head_dim, seq, is_causal, dropout});
          }
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
