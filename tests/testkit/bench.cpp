#include "tests/testkit/bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "strobe/simd/onednn_matmul.h"

namespace strobe::testing {

double matmul_gflops(Context& ctx) {
  constexpr int64_t m = 2048, k = 768, n = 3072;
  const Arena::Scope scope(ctx.arena());
  const Tensor a = bench_tensor(ctx, DType::f32, {m, k}), b = bench_tensor(ctx, DType::f32, {k, n});
  const Tensor c = ctx.arena().allocate(MemoryUse::activations, DType::f32, {m, n});
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    onednn_matmul(ctx, {.a = a, .b = b, .c = c});
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return 2.0 * m * k * n / best * 1e-9;
}

double read_gb_s(Context& ctx) {
  constexpr int64_t kBytes = int64_t{512} << 20, kLine = 64;
  const Arena::Scope scope(ctx.arena());
  const Tensor memory =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {kBytes / int64_t{sizeof(float)}});
  std::memset(memory.data, 1, kBytes);
  std::atomic<uint64_t> total = 0;  // so that the compiler may not leave out the reading
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_ranges(kBytes, kLine, [&](int64_t begin, int64_t end) {
      const char* bytes = static_cast<const char*>(memory.data);
      uint64_t sums[kLine / sizeof(uint64_t)] = {};
      for (int64_t at = begin; at < end; at += kLine) {
        uint64_t line[kLine / sizeof(uint64_t)];
        std::memcpy(line, bytes + at, kLine);
        for (size_t word = 0; word < std::size(line); ++word) sums[word] += line[word];
      }
      for (const uint64_t sum : sums) total += sum;
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return kBytes / best * 1e-9;
}

}  // namespace strobe::testing
