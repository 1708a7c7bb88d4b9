#include "tests/testkit/bench.h"

#include <algorithm>

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

}  // namespace strobe::testing
