// Decode steps of GPT-2 small and of a grouped-query model: the best implementation of each
// algorithm, on a CPU as shares of the speed at which memory can be read. Each step's result is
// checked against the definition before it is timed.
#include <algorithm>
#include <cmath>

#include "strobe/core/copy.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_reference.h"
#include "tests/testkit/bench.h"
#include "tests/testkit/compare.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::to_doubles;

struct Case {
  DType dtype, cache_dtype;
  int64_t batch, length, heads_q, heads_kv, head_dim;
};

// Calls of one shape, on as many caches as no processor holds.
struct Steps {
  static constexpr int64_t kBytes = int64_t{256} << 20;
  std::vector<AttentionDecode> calls;

  Steps(Context& ctx, const Case& c) {
    // In memory head by head, as a model's cache is.
    const Shape by_head = {c.batch, c.heads_kv, c.length, c.head_dim};
    AttentionDecode call = {
        .q = bench_tensor(ctx, c.dtype, {c.batch, 1, c.heads_q, c.head_dim}),
        .cache_lengths = ctx.arena().allocate(MemoryUse::activations, DType::i32, {c.batch}),
        .out = bench_tensor(ctx, c.dtype, {c.batch, 1, c.heads_q, c.head_dim}),
        .scale = 1 / std::sqrt(static_cast<float>(c.head_dim))};
    testing::fill(call.cache_lengths, [&] { return static_cast<double>(c.length); });
    const Tensor first = bench_tensor(ctx, c.cache_dtype, by_head);
    const auto count = kBytes / static_cast<int64_t>(2 * first.bytes());
    for (int64_t i = 0; i < std::max<int64_t>(1, count); ++i) {
      for (Tensor* cache : {&call.k_cache, &call.v_cache}) {
        const Tensor own = ctx.arena().allocate(MemoryUse::activations, c.cache_dtype, by_head);
        copy_now(first, own);
        *cache = own.transpose(1, 2);
      }
      calls.push_back(call);
    }
  }
  double bytes() const { return static_cast<double>(calls.size() * 2 * calls[0].k_cache.bytes()); }
};

// Of the first sequence of a step.
double error_of(Context& ctx, const AttentionDecode& call, const Case& c) {
  attention_decode(ctx, call);
  const AttentionReferenceResult exact =
      attention_reference({.seq_q = 1,
                           .seq_k = c.length,
                           .heads_q = c.heads_q,
                           .heads_kv = c.heads_kv,
                           .head_dim = c.head_dim,
                           .scale = call.scale,
                           .q = to_doubles(call.q.slice(0, 0, 1)),
                           .k = to_doubles(call.k_cache.slice(0, 0, 1)),
                           .v = to_doubles(call.v_cache.slice(0, 0, 1))});
  return testing::relative_error(to_doubles(call.out.slice(0, 0, 1)), exact.out);
}

// On a CPU with so many threads.
void run(benchmark::State& state, const AttentionImpl& impl, const Case& c, const Device& device,
         int threads) {
  if (threads > 0) set_thread_count(threads);
  Context ctx(device);
  ctx.prefer("attention", {.implementation = std::string(impl.name)});
  const Steps steps(ctx, c);
  const double allowed = c.dtype == DType::f32 ? 1e-5 : 2e-2;
  const double error = error_of(ctx, steps.calls[0], c);
  if (!(error <= allowed)) {
    const std::string message = fmt::format("relative error {}, allowed is {}", error, allowed);
    return state.SkipWithError(message.c_str());
  }
  testing::time_best(state, ctx, {.read_bytes = steps.bytes()}, [&] {
    for (const AttentionDecode& call : steps.calls) attention_decode(ctx, call);
  });
  state.counters["us_each"] =
      state.counters["best_us"].value / static_cast<double>(steps.calls.size());
}

void register_case(const Case& c, const Device& device, const std::vector<int>& thread_counts) {
  std::vector<Algorithm> seen;
  for (const AttentionImpl& impl : attention_impls()) {
    if (!impl.why_not({.dtype = c.dtype, .is_decode = true}, device).empty()) continue;
    if (std::ranges::find(seen, impl.algorithm) != seen.end()) continue;
    seen.push_back(impl.algorithm);
    for (const int threads : thread_counts) {
      std::string name = fmt::format("attention/decode/{}/cache:{}/b:{}/t:{}/h:{}:{}/d:{}/{}",
                                     c.dtype, c.cache_dtype, c.batch, c.length, c.heads_q,
                                     c.heads_kv, c.head_dim, impl.name);
      if (threads > 0) name += fmt::format("/threads:{}", threads);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [=, &impl](benchmark::State& state) { run(state, impl, c, device, threads); })
          ->UseRealTime()
          ->MinTime(0.3);
    }
  }
}

void register_case(const Case& c) {
  register_case(c, Device{}, {1, cpu_info().cores});
  register_case(c, Device{DeviceKind::cuda}, {0});
}

const int registered = [] {
  struct Types {
    DType q, cache;
  };
  constexpr Types kTypes[] = {{DType::f32, DType::f32},
                              {DType::f32, DType::f16},
                              {DType::f32, DType::bf16},
                              {DType::bf16, DType::bf16},
                              {DType::f16, DType::f16}};
  for (const Types types : kTypes) {
    for (const int64_t batch : {1, 8}) {
      for (const int64_t length : {128, 1024}) {
        register_case({types.q, types.cache, batch, length, 12, 12, 64});
      }
    }
    register_case({types.q, types.cache, 1, 16384, 32, 8, 128});
    register_case({types.q, types.cache, 1, 16384, 8, 1, 128});  // fewer heads than threads
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
