// 1 Mi elements, which the caches hold.
#include "strobe/ops/cast/cast.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kCount = int64_t{1} << 20;

void run(benchmark::State& state, Context& ctx, DType from_type, DType to_type) {
  const Tensor from = bench_tensor(ctx, from_type, {kCount});
  const Tensor to = bench_tensor(ctx, to_type, {kCount});
  time_best(state, ctx, {.bytes = 1.0 * from.bytes() + 1.0 * to.bytes()},
            [&] { cast(ctx, {.from = from, .to = to}); });
}

const int registered = [] {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    register_rows("cast", cast_impls(), fmt::format("to_{}", dtype), DType::f32,
                  [=](auto& state, Context& ctx) { run(state, ctx, DType::f32, dtype); });
    register_rows("cast", cast_impls(), "to_f32", dtype,
                  [=](auto& state, Context& ctx) { run(state, ctx, dtype, DType::f32); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
