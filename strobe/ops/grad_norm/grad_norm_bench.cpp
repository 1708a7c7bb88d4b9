// 16 Mi gradients, far more than the caches hold: the speed is that of the memory.
#include "strobe/ops/grad_norm/grad_norm.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kCount = int64_t{1} << 24;

void run(benchmark::State& state, Context& ctx) {
  const std::vector<Tensor> gradients = {bench_tensor(ctx, DType::f32, {kCount})};
  const Tensor norm = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {1});
  time_best(state, ctx, {.bytes = 1.0 * gradients[0].bytes()},
            [&] { grad_norm(ctx, gradients, norm); });
}

const int registered = [] {
  register_rows("grad_norm", grad_norm_impls(), "norm", DType::f32, run);
  return 0;
}();

}  // namespace
}  // namespace strobe
