// GPT-2 small: 1024 rows of 3072.
#include "strobe/ops/gelu/gelu.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kRows = 1024, kColumns = 3072;

void forward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor x = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Tensor y = bench_tensor(ctx, dtype, {kRows, kColumns});
  time_best(state, ctx, {.bytes = 2.0 * x.bytes()}, [&] { gelu_forward(ctx, {.x = x, .y = y}); });
}

void backward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor x = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Tensor dy = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Tensor dx = bench_tensor(ctx, dtype, {kRows, kColumns});
  time_best(state, ctx, {.bytes = 3.0 * x.bytes()},
            [&] { gelu_backward(ctx, {.x = x, .dy = dy, .dx = dx}); });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("gelu", gelu_impls(), "forward", dtype,
                  [=](auto& state, Context& ctx) { forward(state, ctx, dtype); });
    register_rows("gelu", gelu_impls(), "backward", dtype,
                  [=](auto& state, Context& ctx) { backward(state, ctx, dtype); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
