// GPT-2 small: 1024 rows of 768, with dropout and (p = 0) without.
#include "strobe/ops/dropout_add/dropout_add.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kRows = 1024, kColumns = 768;

void forward(benchmark::State& state, Context& ctx, DType dtype, double p) {
  const Tensor x = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Tensor residual = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Tensor y = bench_tensor(ctx, dtype, {kRows, kColumns});
  const Dropout dropout = Dropout::with(p, random_key(1, 2, 3));
  time_best(state, ctx, {.bytes = 3.0 * x.bytes()}, [&] {
    dropout_add_forward(ctx, {.x = x, .residual = residual, .y = y, .dropout = dropout});
  });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const double p : {0.0, 0.1}) {
      register_rows("dropout_add", dropout_add_impls(), fmt::format("forward_p{}", p), dtype,
                    [=](auto& state, Context& ctx) { forward(state, ctx, dtype, p); });
    }
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
