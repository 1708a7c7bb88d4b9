// Calls on a GPU as a training step makes them: planned, recorded, and replayed.
#include <gtest/gtest.h>

#include "strobe/core/graph.h"
#include "strobe/ops/attention/attention_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

std::vector<std::string> lines() {
  std::vector<std::string> all;
  for (const std::string& dtype : types_under_test()) {
    for (const char* rest :
         {"b=2 tq=70 tk=70 hq=4 hkv=2 d=64 mask=causal padding=2 bias=0 packed=0",
          "b=3 tq=60 tk=90 hq=2 hkv=1 d=32 mask=full padding=0 bias=0 packed=1",
          "b=2 tq=33 tk=47 hq=2 hkv=2 d=40 mask=full padding=3 bias=2 packed=0"}) {
      all.push_back(fmt::format("{} dtype={} p=0.5 layout=0 threads=1 seed=5", rest, dtype));
    }
  }
  return all;
}

AttentionOutputs outputs_of(const AttentionTensors& tensors) {
  const AttentionBackward& b = tensors.backward;
  return {.out = to_doubles(b.out),
          .lse = to_doubles(b.lse),
          .dq = to_doubles(b.dq),
          .dk = to_doubles(b.dk),
          .dv = to_doubles(b.dv),
          .dbias = {}};
}

// What is recorded once takes the dropout key of each run from memory. The second run is the one
// that is recorded, the third and fourth are replayed.
TEST(AttentionRecorded, ReadsItsDropoutKeyAnew) {
  if (options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "a CPU records nothing";
  for_all_implementations(lines(), [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                      const AttentionData& data) {
    ctx.set_deterministic(true);
    AttentionTensors tensors(ctx, c, data), direct(ctx, c, data);
    const Tensor key = ctx.arena().allocate(MemoryUse::activations, DType::i32, {2});
    tensors.forward.dropout.key_at = static_cast<const PhiloxKey*>(key.data);
    tensors.backward.dropout.key_at = tensors.forward.dropout.key_at;
    Graph graph;
    for (const uint32_t word : {3u, 4u, 5u, 3u}) {
      fill(key, {static_cast<double>(word), 1.0});
      graph.run(ctx, [&] {
        attention_forward(ctx, tensors.forward);
        attention_backward(ctx, tensors.backward);
      });
      direct.forward.dropout.key = direct.backward.dropout.key = {{word, 1}};
      attention_forward(ctx, direct.forward);
      attention_backward(ctx, direct.backward);
      const AttentionOutputs actual = outputs_of(tensors), expected = outputs_of(direct);
      EXPECT_TRUE(is_equal("out", actual.out, expected.out)) << "key " << word;
      EXPECT_TRUE(is_equal("dq", actual.dq, expected.dq)) << "key " << word;
      EXPECT_TRUE(is_equal("dk", actual.dk, expected.dk)) << "key " << word;
      EXPECT_TRUE(is_equal("dv", actual.dv, expected.dv)) << "key " << word;
    }
    EXPECT_TRUE(graph.is_recorded());
  });
}

// A context that is planning takes the memory of a call, and touches none.
TEST(AttentionRecorded, IsPlannedWithoutMemory) {
  if (options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "a CPU plans nothing";
  for (const AttentionImpl& impl : attention_impls()) {
    if (!is_for_gpu(impl.name)) continue;
    SCOPED_TRACE(impl.name);
    Context ctx(options().device, {.is_planning = true});
    ctx.prefer("attention", {.implementation = std::string(impl.name)});
    const auto make = [&](const Shape& shape) {
      return ctx.arena().allocate(MemoryUse::activations, DType::f16, shape);
    };
    const Tensor q = make({2, 300, 4, 64}), k = make({2, 300, 2, 64});
    AttentionBackward b = {.q = q, .k = k, .v = k, .out = q};
    b.lse = ctx.arena().allocate(MemoryUse::activations, DType::f32, {2, 4, 300});
    b.dout = b.dq = q;
    b.dk = b.dv = k;
    b.scale = 0.125f;
    b.padding.key_end = ctx.arena().allocate(MemoryUse::activations, DType::i32, {2});
    b.dropout = Dropout::with(0.1, {{1, 2}});
    const AttentionProblem problem = problem_of(ctx, b);
    if (!impl.why_not(problem, ctx.device()).empty()) continue;
    b.saved = ctx.arena().allocate(MemoryUse::activations, DType::i32,
                                   {impl.saved_bytes(problem) / 4 + 1});
    attention_forward(ctx, {.q = q,
                            .k = k,
                            .v = k,
                            .out = q,
                            .lse = b.lse,
                            .scale = b.scale,
                            .padding = b.padding,
                            .dropout = b.dropout,
                            .saved = b.saved});
    attention_backward(ctx, b);
    EXPECT_EQ(ctx.arena().report().peak_bytes[static_cast<int>(MemoryUse::attention)],
              impl.workspace_bytes(problem));
  }
}

// cuBLAS's kernels load 16 bytes at a time, and take no rows that overlap.
TEST(AttentionRecorded, StandardNamesRowsThatItCannotMultiply) {
  if (options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "a CPU takes any rows";
  Context ctx(options().device, {.is_planning = true});
  ctx.prefer("attention", {.implementation = "cuda_standard"});
  const Tensor q = ctx.arena().allocate(MemoryUse::activations, DType::f16, {1, 8, 2, 16});
  const Tensor lse = ctx.arena().allocate(MemoryUse::activations, DType::f32, {1, 2, 8});
  const AttentionForward args = {.q = q, .k = q, .v = q, .out = q, .lse = lse, .scale = 1};
  const auto refused = [&](const std::function<void(AttentionForward&)>& spoil) {
    AttentionForward spoiled = args;
    spoil(spoiled);
    return error_of([&] { attention_forward(ctx, spoiled); });
  };
  EXPECT_EQ(refused([](auto&) {}), "no error");
  EXPECT_EQ(refused([](auto& a) { a.k.strides[1] = 8; }),
            "k has stride 8 from row to row, cuda_standard takes at least head_dim, 16");
  const std::string error = refused([](auto& a) { a.v.data = static_cast<f16*>(a.v.data) + 1; });
  EXPECT_NE(error.find("v at 0x"), std::string::npos) << error;
  EXPECT_NE(error.find("with strides [256, 32, 16, 1]: cuda_standard takes rows at multiples of 16 "
                       "bytes"),
            std::string::npos)
      << error;
}

}  // namespace
}  // namespace strobe::testing
