// GPT-2 small: 1024 tokens of a vocabulary of 50257.
#include "strobe/ops/embedding/embedding.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

constexpr int64_t kTokens = 1024, kColumns = 768, kVocab = 50257;

Tensor random_tokens(Context& ctx) {
  const Tensor tokens = ctx.arena().allocate(MemoryUse::activations, DType::i32, {1, kTokens});
  Random random(random_key(1, 0, 0));
  testing::fill(tokens, [&] { return static_cast<double>(random.below(kVocab)); });
  return tokens;
}

void forward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor tokens = random_tokens(ctx);
  const Tensor token_table = bench_tensor(ctx, dtype, {kVocab, kColumns});
  const Tensor position_table = bench_tensor(ctx, dtype, {kTokens, kColumns});
  const Tensor out = bench_tensor(ctx, dtype, {1, kTokens, kColumns});
  time_best(state, ctx, {.bytes = 3.0 * out.bytes()}, [&] {
    embedding_forward(ctx, {.tokens = tokens,
                            .token_table = token_table,
                            .position_table = position_table,
                            .out = out});
  });
}

void backward(benchmark::State& state, Context& ctx, DType dtype) {
  const Tensor tokens = random_tokens(ctx);
  const Tensor dtokens = bench_tensor(ctx, DType::f32, {kVocab, kColumns});
  const Tensor dpositions = bench_tensor(ctx, DType::f32, {kTokens, kColumns});
  const Tensor dout = bench_tensor(ctx, dtype, {1, kTokens, kColumns});
  time_best(state, ctx, {.bytes = 1.0 * dout.bytes() + 4.0 * dpositions.bytes()}, [&] {
    embedding_backward(
        ctx,
        {.tokens = tokens, .dout = dout, .dtoken_table = dtokens, .dposition_table = dpositions});
  });
}

const int registered = [] {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    register_rows("embedding", embedding_impls(), "forward", dtype,
                  [=](auto& state, Context& ctx) { forward(state, ctx, dtype); });
    register_rows("embedding", embedding_impls(), "backward", dtype,
                  [=](auto& state, Context& ctx) { backward(state, ctx, dtype); });
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
