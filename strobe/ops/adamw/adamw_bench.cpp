// 16 Mi parameters, far more than the caches hold: the speed is that of the memory.
#include "strobe/ops/adamw/adamw.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kCount = int64_t{1} << 24;

void run(benchmark::State& state, Context& ctx, bool has_working) {
  const auto make = [&] { return bench_tensor(ctx, DType::f32, {kCount}); };
  const Tensor master = make(), gradient = make(), m = make(), v = make();
  testing::fill(v, [] { return 1.0; });
  const Tensor working = has_working ? bench_tensor(ctx, DType::bf16, {kCount}) : Tensor{};
  const double bytes = 7.0 * master.bytes() + (has_working ? working.bytes() : 0.0);
  time_best(state, ctx, {.bytes = bytes}, [&] {
    adamw(ctx, {.master = master,
                .working = working,
                .gradient = gradient,
                .m = m,
                .v = v,
                .learning_rate = 1e-4f});
  });
}

const int registered = [] {
  for (const bool has_working : {false, true}) {
    register_rows("adamw", adamw_impls(), has_working ? "with_bf16_copy" : "update", DType::f32,
                  [=](auto& state, Context& ctx) { run(state, ctx, has_working); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
