// A training step of GPT-2 124M (forward, backward, AdamW), as a share of the rate that the linear
// layer reaches by itself on 2048×768 · 768×3072 in the same process. Each row is the best step of
// a few, so that a busy moment of the machine does not count.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_testing.h"
#include "strobe/ops/linear/linear.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

constexpr int kSteps = 5;

template <class F>
double seconds_of(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// FLOP/s of one matrix product in oneDNN: the best of many.
double matmul_rate(DType dtype) {
  Context ctx;
  Arena& arena = ctx.arena();
  const int64_t m = 2048, k = 768, n = 3072;
  const LinearForward product = {.x = arena.allocate(MemoryUse::workspace, dtype, {m, k}),
                                 .weight = arena.allocate(MemoryUse::workspace, dtype, {k, n}),
                                 .y = arena.allocate(MemoryUse::workspace, dtype, {m, n})};
  Random random(random_key(1, 0, 0));
  fill_normal(product.x, random);
  fill_normal(product.weight, random);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 30; ++i) {
    best = std::min(best, seconds_of([&] { linear_forward(ctx, product); }));
  }
  return 2.0 * static_cast<double>(m * k * n) / best;
}

// Of forward and backward: 6 for every weight of a matrix product and token, and the causal half of
// attention's products, backward counted as twice forward (what flash recomputes is not counted).
double step_flops(const Gpt2Config& c, int64_t batch, int64_t time) {
  const int64_t width = c.n_embd;
  const int64_t weights = c.n_layer * (4 * width * width + 2 * width * c.inner_dim());
  const int64_t head = c.vocab_size * width;
  const int64_t attention = c.n_layer * time * width;
  return 6.0 * static_cast<double>(batch * time * (weights + head + attention));
}

void training_step(benchmark::State& state, DType dtype, Algorithm algorithm, int64_t batch,
                   int64_t time) {
  const Gpt2Config config;
  const double rate = matmul_rate(dtype);
  Context ctx;
  ctx.prefer("attention", {.algorithm = algorithm});
  Gpt2 model(ctx, config, dtype);
  model.initialize(ctx, 1);
  TestBatch tokens = random_batch(config, batch, time, 1);
  // The first weights know nothing.
  const double expected_loss = std::log(static_cast<double>(config.vocab_size));

  double best = std::numeric_limits<double>::infinity(), best_attention = 0;
  int64_t step = 0;
  Optimizer optimizer(ctx, model, 1e-6f);  // the loss stays where it is
  for (auto _ : state) {
    const double attention_before = ctx.seconds_in("attention");
    const double seconds = seconds_of([&] {
      const auto pass = static_cast<uint64_t>(step++);
      const double loss = model.forward_backward(ctx, tokens.view(), {.step = pass});
      if (!(std::abs(loss - expected_loss) < 1)) state.SkipWithError("the loss is wrong");
      optimizer.step();
    });
    if (seconds < best) {
      best = seconds;
      best_attention = ctx.seconds_in("attention") - attention_before;
    }
  }
  const double flops = step_flops(config, batch, time) / best;
  const auto attention_bytes = static_cast<double>(
      ctx.arena().report().peak_bytes[static_cast<size_t>(MemoryUse::attention)]);
  state.counters["best_ms"] = best * 1e3;
  state.counters["tokens_per_s"] = static_cast<double>(batch * time) / best;
  state.counters["gflops"] = flops * 1e-9;
  state.counters["matmul_gflops"] = rate * 1e-9;
  state.counters["of_matmul"] = flops / rate;
  state.counters["attention_share"] = best_attention / best;
  state.counters["attention_mib"] = attention_bytes / (1 << 20);
  state.counters["peak_mib"] =
      static_cast<double>(ctx.arena().report().peak_total_bytes) / (1 << 20);
}

const int registered = [] {
  for (const auto& [batch, time] : {std::pair<int64_t, int64_t>{4, 64}, {1, 1024}}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Algorithm algorithm : {Algorithm::standard, Algorithm::flash}) {
        const std::string name =
            fmt::format("gpt2_124m_step/{}/b{}_t{}/{}", dtype, batch, time, algorithm);
        benchmark::RegisterBenchmark(name.c_str(), training_step, dtype, algorithm, batch, time)
            ->Iterations(kSteps)
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace strobe::testing
