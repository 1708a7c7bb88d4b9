#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <limits>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
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

// Times call() in every iteration; counters: the best time, and what it makes of `work`.
template <class Call>
void time_best(benchmark::State& state, Context& ctx, const Work& work, const Call& call) {
  using Clock = std::chrono::steady_clock;
  const double peak = work.flops > 0 ? matmul_gflops(ctx) : 0;
  const double read_peak = work.read_bytes > 0 ? read_gb_s(ctx) : 0;
  call();
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const auto start = Clock::now();
    call();
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    best = elapsed.count() < best ? elapsed.count() : best;
  }
  state.counters["best_us"] = best * 1e6;
  if (work.bytes > 0) state.counters["gb_s"] = work.bytes / best * 1e-9;
  if (work.flops > 0) {
    state.counters["gflop_s"] = work.flops / best * 1e-9;
    state.counters["of_matmul"] = work.flops / best * 1e-9 / peak;
  }
  if (work.read_bytes > 0) {
    state.counters["read_gb_s"] = work.read_bytes / best * 1e-9;
    state.counters["of_reading"] = work.read_bytes / best * 1e-9 / read_peak;
  }
}

// Tensors of activations size, filled with normal values.
inline Tensor bench_tensor(Context& ctx, DType dtype, const Shape& shape) {
  const Tensor tensor = ctx.arena().allocate(MemoryUse::activations, dtype, shape);
  Random random(random_key(1, 0, static_cast<uint32_t>(shape.numel())));
  fill_normal(tensor, random);
  return tensor;
}

// Registers body(state, ctx) for every row of an op's table that can run `dtype` here, with one
// thread and with all: "layernorm/forward/f32/cpu_avx512/threads:4".
template <class Impls, class Body>
void register_rows(std::string_view op, const Impls& impls, std::string_view what, DType dtype,
                   const Body& body) {
  for (const auto& impl : impls) {
    if (!impl.why_not(dtype, Device{}).empty()) continue;
    for (const int threads : {1, cpu_info().cores}) {
      const std::string name =
          fmt::format("{}/{}/{}/{}/threads:{}", op, what, dtype, impl.name, threads);
      const auto run = [=, op = std::string(op)](benchmark::State& state) {
        set_thread_count(threads);
        Context ctx;
        ctx.prefer(op, {.implementation = std::string(impl.name)});
        body(state, ctx);
      };
      benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->MinTime(0.3);
    }
  }
}

}  // namespace strobe::testing
