// GPT-2 small: the last position of each of 32 prompts of 512 tokens.
#include "strobe/ops/gather_rows/gather_rows.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kBatch = 32, kTime = 512, kColumns = 768;

void run(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor x = bench_tensor(ctx, dtype, {kBatch * kTime, kColumns});
  const Tensor out = bench_tensor(ctx, dtype, {kBatch, kColumns});
  const Tensor indices = ctx.arena().allocate(MemoryUse::activations, DType::i32, {kBatch});
  testing::fill(indices, [last = -1.0]() mutable { return last += kTime; });
  time_best(state, ctx, {.bytes = 2.0 * out.bytes()},
            [&] { gather_rows(ctx, {.x = x, .indices = indices, .out = out}); });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("gather_rows", gather_rows_impls(), "rows", dtype,
                  [=](auto& state, Context& ctx) { run(state, ctx, dtype); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
