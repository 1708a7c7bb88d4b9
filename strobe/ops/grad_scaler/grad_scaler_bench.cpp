// A few numbers: what a launch costs.
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::register_rows;
using testing::time_best;

void run(benchmark::State& state, Context& ctx) {
  const auto number = [&](DType dtype, double value) {
    const Tensor tensor = ctx.arena().allocate(MemoryUse::optimizer, dtype, {1});
    testing::fill(tensor, [&] { return value; });
    return tensor;
  };
  const GradScaler scaler = {.norm = number(DType::f32, 3),
                             .state = {.loss_scale = number(DType::f32, 65536),
                                       .finite_steps = number(DType::i32, 0),
                                       .steps_taken = number(DType::i32, 0),
                                       .steps_skipped = number(DType::i32, 0)},
                             .unscaled_norm = number(DType::f32, 0),
                             .gradient_scale = number(DType::f32, 0),
                             .is_skipped = number(DType::i32, 0),
                             .max_norm = 1};
  time_best(state, ctx, {}, [&] { update_grad_scaler(ctx, scaler); });
}

const int registered = [] {
  register_rows("grad_scaler", grad_scaler_impls(), "update", DType::f32, run);
  return 0;
}();

}  // namespace
}  // namespace strobe
