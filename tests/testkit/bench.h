#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/core/device_stopwatch.h"
#include "strobe/core/graph.h"
#include "strobe/core/parallel.h"
#include "strobe/core/random.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {

// What one call costs at least: memory that must move, and arithmetic of matrix products.
struct Work {
  double bytes = 0;
  double flops = 0;
  double read_bytes = 0;  // of memory that is in no cache
};

// GFLOP/s of oneDNN's f32 matrix product 2048×768 · 768×3072 with the threads in use, the best of
// many calls, measured again for every benchmark: what arithmetic speeds are shares of.
double matmul_gflops(Context& ctx);

// GB/s at which the threads in use read memory that is in no cache, the best of some passes,
// measured again for every benchmark: what speeds of reading are shares of.
double read_gb_s(Context& ctx);

// Times calls: on a GPU recorded ones, from the first of their launches to the end of the last.
class CallTimer {
 public:
  explicit CallTimer(Context& ctx) : ctx_(ctx), watch_(ctx) {}

  template <class Call>
  double seconds_of(const Call& call) {
    watch_.begin();
    graph_.run(ctx_, call);
    watch_.end();
    return 1e-3 * watch_.take_ms().front();
  }

 private:
  Context& ctx_;
  DeviceStopwatch watch_;
  Graph graph_;
};

// Times call() in every iteration; counters: the best time, and what it makes of `work`, on a CPU
// also as a share of what it reaches elsewhere.
template <class Call>
void time_best(benchmark::State& state, Context& ctx, const Work& work, const Call& call) {
  const bool is_cpu = ctx.device().kind == DeviceKind::cpu;
  const double peak = is_cpu && work.flops > 0 ? matmul_gflops(ctx) : 0;
  const double read_peak = is_cpu && work.read_bytes > 0 ? read_gb_s(ctx) : 0;
  CallTimer timer(ctx);
  const int warm_up = is_cpu ? 1 : 3;  // measures algorithms, is recorded, is replayed
  for (int i = 0; i < warm_up; ++i) timer.seconds_of(call);
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) best = std::min(best, timer.seconds_of(call));
  state.counters["best_us"] = best * 1e6;
  if (work.bytes > 0) state.counters["gb_s"] = work.bytes / best * 1e-9;
  if (work.flops > 0) state.counters["gflop_s"] = work.flops / best * 1e-9;
  if (work.read_bytes > 0) state.counters["read_gb_s"] = work.read_bytes / best * 1e-9;
  if (peak > 0) state.counters["of_matmul"] = work.flops / best * 1e-9 / peak;
  if (read_peak > 0) state.counters["of_reading"] = work.read_bytes / best * 1e-9 / read_peak;
}

// Tensors of activations size, filled with normal values.
inline Tensor bench_tensor(Context& ctx, DType dtype, const Shape& shape) {
  const Tensor tensor = ctx.arena().allocate(MemoryUse::activations, dtype, shape);
  Random random(random_key(1, 0, static_cast<uint32_t>(shape.numel())));
  fill_normal(tensor, random);
  return tensor;
}

// Registers body(state, ctx) for every row of an op's table that can run `dtype` here: on a CPU
// with one thread and with all, "layernorm/forward/f32/cpu_avx512/threads:4", on a GPU as
// "layernorm/forward/f32/cuda".
template <class Impls, class Body>
void register_rows(std::string_view op, const Impls& impls, std::string_view what, DType dtype,
                   const Body& body) {
  const auto add = [&](std::string_view impl, const Device& device, int threads) {
    std::string name = fmt::format("{}/{}/{}/{}", op, what, dtype, impl);
    if (threads > 0) name += fmt::format("/threads:{}", threads);
    const auto run = [=, op = std::string(op), impl = std::string(impl)](benchmark::State& state) {
      if (threads > 0) set_thread_count(threads);
      Context ctx(device);
      ctx.prefer(op, {.implementation = impl});
      body(state, ctx);
    };
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->MinTime(0.3);
  };
  for (const auto& impl : impls) {
    if (impl.why_not(dtype, Device{}).empty()) {
      for (const int threads : {1, cpu_info().cores}) add(impl.name, Device{}, threads);
    }
    const Device gpu = {DeviceKind::cuda};
    if (impl.why_not(dtype, gpu).empty()) add(impl.name, gpu, 0);
  }
}

}  // namespace strobe::testing
