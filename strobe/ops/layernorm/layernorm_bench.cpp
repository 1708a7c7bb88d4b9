// GPT-2 small: rows of 768; bytes are those of x, y and their gradients.
#include "strobe/ops/layernorm/layernorm.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kRows = 1024, kColumns = 768;

struct Tensors {
  Tensor x, weight, bias, y, mean, rstd, dy, dx, dweight, dbias;
  Tensors(Context& ctx, DType dtype)
      : x(bench_tensor(ctx, dtype, {kRows, kColumns})),
        weight(bench_tensor(ctx, DType::f32, {kColumns})),
        bias(bench_tensor(ctx, DType::f32, {kColumns})),
        y(bench_tensor(ctx, dtype, {kRows, kColumns})),
        mean(bench_tensor(ctx, DType::f32, {kRows})),
        rstd(bench_tensor(ctx, DType::f32, {kRows})),
        dy(bench_tensor(ctx, dtype, {kRows, kColumns})),
        dx(bench_tensor(ctx, dtype, {kRows, kColumns})),
        dweight(bench_tensor(ctx, DType::f32, {kColumns})),
        dbias(bench_tensor(ctx, DType::f32, {kColumns})) {}
};

void forward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensors t(ctx, dtype);
  time_best(state, ctx, {.bytes = 2.0 * t.x.bytes()}, [&] {
    layernorm_forward(
        ctx,
        {.x = t.x, .weight = t.weight, .bias = t.bias, .y = t.y, .mean = t.mean, .rstd = t.rstd});
  });
}

void backward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensors t(ctx, dtype);
  time_best(state, ctx, {.bytes = 3.0 * t.x.bytes()}, [&] {
    layernorm_backward(ctx, {.x = t.x,
                             .weight = t.weight,
                             .mean = t.mean,
                             .rstd = t.rstd,
                             .dy = t.dy,
                             .dx = t.dx,
                             .dweight = t.dweight,
                             .dbias = t.dbias});
  });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("layernorm", layernorm_impls(), "forward", dtype,
                  [=](auto& state, Context& ctx) { forward(state, ctx, dtype); });
    register_rows("layernorm", layernorm_impls(), "backward", dtype,
                  [=](auto& state, Context& ctx) { backward(state, ctx, dtype); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
