// GPT-2 small: a token for each of 32 sequences.
#include "strobe/ops/sample/sample.h"

#include "strobe/core/copy.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kBatch = 32, kVocab = 50257;

void run(benchmark::State& state, Context& ctx, DType dtype, const SamplerOptions& options) {
  const Tensor logits = bench_tensor(ctx, dtype, {kBatch, kVocab});
  const Tensor indices = ctx.arena().allocate(MemoryUse::activations, DType::i32, {kBatch});
  const Tensor tokens = ctx.arena().allocate(MemoryUse::activations, DType::i32, {kBatch});
  clear(ctx, indices);
  time_best(state, ctx, {.bytes = 1.0 * logits.bytes()}, [&] {
    sample(ctx, {.logits = logits, .indices = indices, .tokens = tokens, .options = options});
  });
}

const int registered = [] {
  struct Way {
    const char* name;
    SamplerOptions options;
  };
  constexpr Way kWays[] = {{"greedy", {}},
                           {"temperature", {.temperature = 0.8}},
                           {"top_k", {.temperature = 0.8, .top_k = 50}},
                           {"top_p", {.temperature = 0.8, .top_p = 0.9}}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Way& way : kWays) {
      register_rows("sample", sample_impls(), way.name, dtype,
                    [=, options = way.options](auto& state, Context& ctx) {
                      run(state, ctx, dtype, options);
                    });
    }
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
