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
  const auto number = [&](DType dtype, double value) {
    const Tensor tensor = ctx.arena().allocate(MemoryUse::optimizer, dtype, {1});
    testing::fill(tensor, [&] { return value; });
    return tensor;
  };
  const AdamWStep step = {.learning_rate = number(DType::f32, 1e-4),
                          .gradient_scale = number(DType::f32, 1),
                          .step = number(DType::i32, 1),
                          .is_skipped = number(DType::i32, 0)};
  const std::vector<AdamWParameter> parameters = {
      {.master = master, .working = working, .gradient = gradient, .m = m, .v = v}};
  time_best(state, ctx, {.bytes = bytes}, [&] { adamw(ctx, parameters, step); });
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
