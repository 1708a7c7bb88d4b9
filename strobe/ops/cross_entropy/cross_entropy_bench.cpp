// GPT-2: 256 rows of 50257 logits; bytes are one reading and one writing of them.
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kRows = 256, kVocab = 50257;

void run(benchmark::State& state, Context& ctx, DType dtype, float gradient_scale) {
  const Tensor logits = bench_tensor(ctx, dtype, {kRows, kVocab});
  const Tensor labels = ctx.arena().allocate(MemoryUse::activations, DType::i32, {kRows});
  const Tensor loss = bench_tensor(ctx, DType::f32, {kRows});
  Random random(random_key(1, 0, 0));
  testing::fill(labels, [&] { return static_cast<double>(random.below(kVocab)); });
  const double passes = gradient_scale == 0 ? 1 : 2;
  time_best(state, ctx, {.bytes = passes * logits.bytes()}, [&] {
    cross_entropy(
        ctx, {.logits = logits, .labels = labels, .loss = loss, .gradient_scale = gradient_scale});
  });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("cross_entropy", cross_entropy_impls(), "loss", dtype,
                  [=](auto& state, Context& ctx) { run(state, ctx, dtype, 0); });
    register_rows("cross_entropy", cross_entropy_impls(), "gradient", dtype,
                  [=](auto& state, Context& ctx) { run(state, ctx, dtype, 1); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
