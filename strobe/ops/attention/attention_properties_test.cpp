// What must hold between two calls of attention: properties that a tolerance cannot see.
#include <gtest/gtest.h>

#include <cmath>

#include "strobe/ops/attention/attention_testing.h"
#include "strobe/ops/attention/dropout.h"
#include "tests/testkit/compare.h"

namespace strobe::testing {
namespace {

// The rows [begin, end) of a sequence's [rows, width].
std::vector<double> rows_of(const std::vector<double>& values, int64_t begin, int64_t end,
                            int64_t width) {
  return {values.begin() + begin * width, values.begin() + end * width};
}

void fill_rows(std::vector<double>& values, int64_t begin, int64_t end, int64_t width, double x) {
  std::fill(values.begin() + begin * width, values.begin() + end * width, x);
}

TEST(AttentionProperty, FutureKeysDoNotMatter) {
  const std::vector<std::string> lines = {
      "b=1 tq=150 tk=150 hq=2 hkv=1 d=64 dtype=f32 mask=causal padding=0 bias=0 p=0.1 packed=0 "
      "layout=0 threads=3 seed=1",
      "b=1 tq=150 tk=150 hq=2 hkv=2 d=40 dtype=bf16 mask=causal padding=0 bias=0 p=0 packed=0 "
      "layout=0 threads=3 seed=2"};
  for_all_implementations(lines, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    const AttentionOutputs whole = AttentionTensors(ctx, c, data).run(ctx);
    const int64_t width_q = c.heads_q * c.head_dim, width_k = c.heads_kv * c.head_dim;
    for (const int64_t split : {1, 15, 48, 65, 149}) {
      AttentionData other = data;
      fill_rows(other.k, split, c.seq_k, width_k, 9000);
      fill_rows(other.v, split, c.seq_k, width_k, -9000);
      const AttentionOutputs changed = AttentionTensors(ctx, c, other).run(ctx);
      EXPECT_TRUE(is_equal("out", rows_of(changed.out, 0, split, width_q),
                           rows_of(whole.out, 0, split, width_q)));
      EXPECT_TRUE(
          is_equal("lse", rows_of(changed.lse, 0, split, 1), rows_of(whole.lse, 0, split, 1)));
      EXPECT_TRUE(is_equal("dq", rows_of(changed.dq, 0, split, width_q),
                           rows_of(whole.dq, 0, split, width_q)));
    }
  });
}

TEST(AttentionProperty, PackedSequencesAreSeparateCalls) {
  const std::vector<std::string> lines = {
      "b=4 tq=70 tk=90 hq=4 hkv=2 d=32 dtype=f32 mask=causal padding=0 bias=0 p=0 packed=1 "
      "layout=1 threads=3 "
      "seed=5",
      "b=4 tq=70 tk=90 hq=2 hkv=2 d=64 dtype=f32 mask=window left=9 right=2 padding=0 bias=0 p=0 "
      "packed=1 layout=0 threads=3 seed=6"};
  for_all_implementations(lines, [](const AttentionImpl& impl, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    AttentionTensors tensors(ctx, c, data);
    attention_forward(ctx, tensors.forward);
    attention_backward(ctx, tensors.backward);
    for (int64_t s = 0; s < c.batch; ++s) {
      const auto begin_q = static_cast<int64_t>(data.cu_q[s]);
      const auto end_q = static_cast<int64_t>(data.cu_q[s + 1]);
      const auto begin_k = static_cast<int64_t>(data.cu_k[s]);
      const auto end_k = static_cast<int64_t>(data.cu_k[s + 1]);
      const auto make = [&](const Tensor& like) {
        return ctx.arena().allocate(MemoryUse::activations, like.dtype, like.shape);
      };
      AttentionBackward one = tensors.backward;
      one.cu_seqlens_q = one.cu_seqlens_k = {};
      one.q = one.q.slice(1, begin_q, end_q);
      one.dout = one.dout.slice(1, begin_q, end_q);
      one.k = one.k.slice(1, begin_k, end_k);
      one.v = one.v.slice(1, begin_k, end_k);
      one.out = make(one.q);
      one.dq = make(one.q);
      one.dk = make(one.k);
      one.dv = make(one.v);
      one.lse =
          ctx.arena().allocate(MemoryUse::activations, DType::f32, {1, c.heads_q, end_q - begin_q});
      const int64_t saved = impl.saved_bytes(problem_of(ctx, one));
      one.saved = saved == 0
                      ? Tensor()
                      : ctx.arena().allocate(MemoryUse::activations, DType::i32, {saved / 4});
      attention_forward(ctx, {.q = one.q,
                              .k = one.k,
                              .v = one.v,
                              .out = one.out,
                              .lse = one.lse,
                              .scale = one.scale,
                              .mask = one.mask,
                              .saved = one.saved});
      attention_backward(ctx, one);
      const auto expect = [&](const char* name, const Tensor& separate, const Tensor& packed,
                              int64_t begin, int64_t end) {
        EXPECT_TRUE(is_close(name, to_doubles(separate), to_doubles(packed.slice(1, begin, end)),
                             1e-5, 1e-6));
      };
      expect("out", one.out, tensors.forward.out, begin_q, end_q);
      expect("dq", one.dq, tensors.backward.dq, begin_q, end_q);
      expect("dk", one.dk, tensors.backward.dk, begin_k, end_k);
      expect("dv", one.dv, tensors.backward.dv, begin_k, end_k);
    }
  });
}

// [rows, heads, width] with every head `times` times.
std::vector<double> repeat_heads(const std::vector<double>& values, int64_t times, int64_t width) {
  std::vector<double> all;
  for (size_t head = 0; head < values.size(); head += width) {
    for (int64_t n = 0; n < times; ++n) {
      all.insert(all.end(), values.begin() + head, values.begin() + head + width);
    }
  }
  return all;
}
std::vector<double> sum_heads(const std::vector<double>& values, int64_t times, int64_t width) {
  std::vector<double> all;
  for (size_t head = 0; head < values.size(); head += times * width) {
    for (int64_t d = 0; d < width; ++d) {
      double sum = 0;
      for (int64_t n = 0; n < times; ++n) sum += values[head + n * width + d];
      all.push_back(sum);
    }
  }
  return all;
}

TEST(AttentionProperty, GroupedQueriesAreRepeatedKeys) {
  const std::string line =
      "b=2 tq=60 tk=75 hq=6 hkv={} d=48 dtype=f32 mask=causal padding=0 bias=0 p=0.1 packed=0 "
      "layout=0 threads=3 seed=3";
  for_all_implementations(
      {fmt::format(fmt::runtime(line), 2)},
      [&](const AttentionImpl&, Context& ctx, const AttentionCase& c, const AttentionData& data) {
        const AttentionOutputs grouped = AttentionTensors(ctx, c, data).run(ctx);
        const AttentionCase all_heads(fmt::format(fmt::runtime(line), 6));
        AttentionData repeated = data;
        repeated.k = repeat_heads(data.k, 3, c.head_dim);
        repeated.v = repeat_heads(data.v, 3, c.head_dim);
        const AttentionOutputs full = AttentionTensors(ctx, all_heads, repeated).run(ctx);
        EXPECT_TRUE(is_close("out", grouped.out, full.out, 1e-5, 1e-6));
        EXPECT_TRUE(is_close("dq", grouped.dq, full.dq, 1e-5, 1e-6));
        EXPECT_TRUE(is_close("dk", grouped.dk, sum_heads(full.dk, 3, c.head_dim), 1e-5, 3e-6));
        EXPECT_TRUE(is_close("dv", grouped.dv, sum_heads(full.dv, 3, c.head_dim), 1e-5, 3e-6));
      });
}

// Each implementation's backward takes out and lse of each other's forward.
TEST(AttentionProperty, PassesOfTwoImplementationsFit) {
  const std::vector<std::string> lines = {
      "b=2 tq=65 tk=97 hq=2 hkv=1 d=64 dtype=f32 mask=causal padding=2 bias=1 p=0.1 packed=0 "
      "layout=0 threads=3 "
      "seed=7",
      "b=2 tq=65 tk=97 hq=2 hkv=1 d=64 dtype=bf16 mask=causal padding=2 bias=1 p=0.1 packed=0 "
      "layout=0 threads=3 seed=8",
      "b=2 tq=65 tk=97 hq=2 hkv=1 d=64 dtype=bf16 mask=causal padding=2 bias=0 p=0.1 packed=0 "
      "layout=0 threads=3 seed=9"};
  for_all_implementations(lines, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    for (const AttentionImpl& first : attention_impls()) {
      if (!first.why_not(problem_of(c), ctx.device()).empty()) continue;
      SCOPED_TRACE(fmt::format("forward by {}", first.name));
      Context other(ctx.device(), {.poison = true});
      other.prefer("attention", {.implementation = std::string(first.name)});
      const AttentionOutputs forward = AttentionTensors(other, c, data).run(other);
      AttentionTensors tensors(ctx, c, data);
      attention_forward(ctx, tensors.forward);  // fills `saved`
      fill(tensors.forward.out, forward.out);
      fill(tensors.forward.lse, forward.lse);
      attention_backward(ctx, tensors.backward);
      const AttentionOutputs mixed = {.out = forward.out,
                                      .lse = forward.lse,
                                      .dq = to_doubles(tensors.backward.dq),
                                      .dk = to_doubles(tensors.backward.dk),
                                      .dv = to_doubles(tensors.backward.dv),
                                      .dbias = {}};
      expect_as_good_as_plain(mixed, c, data);
    }
  });
}

// Scores that rise by far along the keys, and fall: a running maximum must take all sums with it.
TEST(AttentionProperty, RisingScoresRescaleTheSums) {
  const std::vector<std::string> lines = {
      "b=1 tq=70 tk=700 hq=2 hkv=2 d=32 dtype=f32 mask=full padding=0 bias=8 p=0.1 packed=0 "
      "layout=0 threads=3 seed=3",
      "b=1 tq=70 tk=700 hq=2 hkv=2 d=32 dtype=bf16 mask=full padding=0 bias=8 p=0 packed=0 "
      "layout=0 threads=3 seed=4"};
  for_all_implementations(lines, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    AttentionData rising = data;
    for (int64_t j = 0; j < c.seq_k; ++j) {
      rising.bias[j] = static_cast<float>(j < 500 ? 0.07 * static_cast<double>(j) : 0.0);
    }
    expect_as_good_as_plain(AttentionTensors(ctx, c, rising).run(ctx), c, rising);
  });
}

// Two keys with equal scores and v in small integers: P is ½, and every sum is exact.
TEST(AttentionProperty, SumsOfSmallIntegersAreExact) {
  std::vector<std::string> lines;
  for (const std::string& dtype : types_under_test()) {
    for (const int64_t d : {8, 64, 72, 256}) {
      lines.push_back(
          fmt::format("b=1 tq=70 tk=70 hq=2 hkv=2 d={} dtype={} mask=window left=1 right=0 "
                      "padding=0 bias=0 p=0 packed=0 layout=1 threads=3 seed=9",
                      d, dtype));
    }
  }
  for_all_implementations(lines, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    AttentionData integers = data;
    Random random(PhiloxKey{{c.seed, 1}});
    const auto draw = [&](int limit) {
      return static_cast<double>(random.below(2 * limit + 1)) - limit;
    };
    for (double& x : integers.v) x = draw(2);
    // dout meets few columns, so that dout·v stays small enough for its bf16 rounding to be exact.
    for (size_t i = 0; i < integers.dout.size(); ++i) integers.dout[i] = i % 7 == 0 ? draw(2) : 0;
    for (double& x : integers.q) x = draw(3);
    // All keys are alike but for the odd columns, where q is 0: so all scores of a query are equal.
    const int64_t width = c.heads_q * c.head_dim;
    for (size_t i = 0; i < integers.q.size(); ++i) {
      const bool is_free = i % c.head_dim % 2 == 1;
      if (is_free) integers.q[i] = 0;
      integers.k[i] = is_free || i < static_cast<size_t>(width) ? draw(3) : integers.k[i - width];
    }
    integers.scale = 1;
    const AttentionOutputs actual = AttentionTensors(ctx, c, integers).run(ctx);
    const AttentionReferenceResult& exact = integers.expected().exact;
    EXPECT_TRUE(is_equal("out", actual.out, exact.out));
    EXPECT_TRUE(is_close("lse", actual.lse, exact.lse, 2e-7, 2e-7));
    // Flash makes P once more from L, whose rounding it then carries.
    const double rounding = epsilon_of(c.dtype) + 1e-7 * exact.score_terms;
    EXPECT_TRUE(is_close("dq", actual.dq, exact.dq, 0, exact.gradient_terms * rounding));
    EXPECT_TRUE(is_close("dk", actual.dk, exact.dk, 0, exact.gradient_terms * rounding));
  });
}

// q = 0 makes every probability 1/Tk; with v (or dout) the identity, out (or dv) shows the weight
// of one element each: 0 where dropout took it.
TEST(AttentionProperty, DropoutTakesTheElementsOfItsDefinition) {
  std::vector<std::string> lines;
  for (const std::string& dtype : types_under_test()) {
    for (const double p : {0.1, 0.5}) {
      lines.push_back(
          fmt::format("b=2 tq=256 tk=256 hq=2 hkv=2 d=256 dtype={} mask=full padding=0 "
                      "bias=0 p={} packed=0 layout=0 threads=3 seed=10",
                      dtype, p));
    }
  }
  const auto set_identity = [](std::vector<double>& values, const AttentionCase& c) {
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t column = i % c.head_dim, row = i / c.head_dim / c.heads_q % c.seq_q;
      values[i] = column == row ? 1 : 0;
    }
  };
  for_all_implementations(lines, [&](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                     const AttentionData& data) {
    AttentionData identity = data;
    std::fill(identity.q.begin(), identity.q.end(), 0);
    set_identity(identity.v, c);
    set_identity(identity.dout, c);
    const AttentionOutputs actual = AttentionTensors(ctx, c, identity).run(ctx);
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t h = 0; h < c.heads_q; ++h) {
        for (int64_t i = 0; i < c.seq_q; ++i) {
          for (int64_t j = 0; j < c.seq_k; ++j) {
            const bool keeps = dropout_keeps(data.dropout, static_cast<uint32_t>(b * c.heads_q + h),
                                             static_cast<uint32_t>(i), static_cast<uint32_t>(j));
            const int64_t out = ((b * c.seq_q + i) * c.heads_q + h) * c.head_dim + j;
            const int64_t dv = ((b * c.seq_k + j) * c.heads_kv + h) * c.head_dim + i;
            ASSERT_EQ(actual.out[out] != 0, keeps) << "forward, query " << i << " key " << j;
            ASSERT_EQ(actual.dv[dv] != 0, keeps) << "backward, query " << i << " key " << j;
          }
        }
      }
    }
  });
}

TEST(AttentionProperty, NothingToSeeGivesZero) {
  std::vector<std::string> lines;
  for (const std::string& dtype : types_under_test()) {
    for (const char* lengths : {"tq=0 tk=5", "tq=5 tk=0", "tq=0 tk=0", "tq=20 tk=3"}) {
      lines.push_back(
          fmt::format("b=2 {} hq=2 hkv=1 d=16 dtype={} mask=causal padding=0 bias=0 p=0.5 "
                      "packed=0 layout=1 threads=3 seed=11",
                      lengths, dtype));
    }
    lines.push_back(
        fmt::format("b=3 tq=0 tk=0 hq=2 hkv=1 d=16 dtype={} mask=full padding=0 bias=0 p=0 "
                    "packed=1 layout=0 threads=3 seed=12",
                    dtype));
    lines.push_back(
        fmt::format("b=0 tq=4 tk=4 hq=2 hkv=1 d=16 dtype={} mask=full padding=0 bias=0 p=0 "
                    "packed=0 layout=0 threads=3 seed=13",
                    dtype));
  }
  for_all_implementations(lines, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                    const AttentionData& data) {
    expect_as_good_as_plain(AttentionTensors(ctx, c, data).run(ctx), c, data);
  });
}

}  // namespace
}  // namespace strobe::testing
