// GPT-2 small: keys and values of a block, 8 prompts of 128 tokens, out of the packed projection.
#include "strobe/ops/kv_append/kv_append.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kBatch = 8, kTime = 128, kHeads = 12, kHeadDim = 64;

void append(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor qkv = bench_tensor(ctx, dtype, {kBatch, kTime, 3 * kHeads, kHeadDim});
  const Tensor keys = bench_tensor(ctx, DType::f16, {kBatch, kHeads, kTime, kHeadDim});
  const Tensor values = bench_tensor(ctx, DType::f16, {kBatch, kHeads, kTime, kHeadDim});
  const double read = 2.0 / 3 * static_cast<double>(qkv.bytes());
  time_best(state, ctx, {.bytes = read + 2.0 * static_cast<double>(keys.bytes())}, [&] {
    kv_append(ctx, {.k = qkv.slice(2, kHeads, 2 * kHeads),
                    .v = qkv.slice(2, 2 * kHeads, 3 * kHeads),
                    .k_cache = keys.transpose(1, 2),
                    .v_cache = values.transpose(1, 2)});
  });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("kv_append", kv_append_impls(), "append", dtype,
                  [=](auto& state, Context& ctx) { append(state, ctx, dtype); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
