#include "strobe/ops/attention/attention_probabilities.h"

#include <gtest/gtest.h>

#include <cmath>

#include "strobe/ops/attention/attention_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

const std::vector<std::string> kCases = {
    "b=2 tq=33 tk=33 hq=4 hkv=2 d=32 dtype=f32 mask=causal padding=0 bias=0 p=0 packed=0 layout=2 "
    "threads=2 seed=1",
    "b=2 tq=17 tk=41 hq=2 hkv=2 d=64 dtype=f32 mask=full padding=3 bias=0 p=0 packed=0 layout=1 "
    "threads=2 seed=2",
    "b=1 tq=40 tk=40 hq=3 hkv=3 d=24 dtype=bf16 mask=window left=5 right=2 padding=2 bias=0 p=0 "
    "packed=0 layout=0 threads=2 seed=3"};

// The softmax of the scores, with the mask written out: nothing of mask.h.
std::vector<double> softmax(const AttentionCase& c, const AttentionData& data, int64_t batch,
                            int64_t head) {
  const int64_t d = c.head_dim, key_head = head * c.heads_kv / c.heads_q;
  const auto bound = [&](const std::vector<double>& of, int64_t otherwise) {
    return of.empty() ? otherwise : static_cast<int64_t>(of[batch]);
  };
  std::vector<double> all;
  for (int64_t i = 0; i < c.seq_q; ++i) {
    std::vector<double> row(c.seq_k);
    const int64_t position = i + c.seq_k - c.seq_q;
    double sum = 0;
    for (int64_t j = 0; j < c.seq_k; ++j) {
      const bool is_masked =
          (c.mask.kind == MaskKind::causal && j > position) ||
          (c.mask.kind == MaskKind::window &&
           (j < position - c.mask.left || j > position + c.mask.right)) ||
          j < bound(data.key_begin, 0) || j >= bound(data.key_end, c.seq_k) ||
          i < bound(data.query_begin, 0) || i >= bound(data.query_end, c.seq_q);
      if (is_masked) continue;
      double score = 0;
      for (int64_t x = 0; x < d; ++x) {
        score += data.q[((batch * c.seq_q + i) * c.heads_q + head) * d + x] *
                 data.k[((batch * c.seq_k + j) * c.heads_kv + key_head) * d + x];
      }
      row[j] = std::exp(data.scale * score);
      sum += row[j];
    }
    for (double& p : row) p = sum > 0 ? p / sum : 0;
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

TEST(AttentionProbabilities, AreTheSoftmaxOfTheScores) {
  for_all_implementations(kCases, [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                                     const AttentionData& data) {
    AttentionTensors tensors(ctx, c, data);
    attention_forward(ctx, tensors.forward);
    const Tensor p =
        ctx.arena().allocate(MemoryUse::activations, DType::f32, {c.seq_q, c.seq_k});
    for (int64_t batch = 0; batch < c.batch; ++batch) {
      for (int64_t head = 0; head < c.heads_q; ++head) {
        attention_probabilities(tensors.forward, batch, head, p);
        EXPECT_TRUE(is_close("p", to_doubles(p), softmax(c, data, batch, head), 1e-5, 1e-7));
      }
    }
  });
}

TEST(AttentionProbabilities, MistakesAreNamed) {
  const AttentionCase c(kCases[0]);
  const AttentionData data(c);
  Context ctx;
  AttentionTensors tensors(ctx, c, data);
  const Tensor p = ctx.arena().allocate(MemoryUse::activations, DType::f32, {c.seq_q, c.seq_k});
  const auto error = [&](int64_t batch, int64_t head, const Tensor& to) {
    return error_of([&] { attention_probabilities(tensors.forward, batch, head, to); });
  };
  EXPECT_EQ(error(2, 0, p), "sequence 2, allowed is 0 to 1");
  EXPECT_EQ(error(0, 4, p), "head 4, allowed is 0 to 3");
  EXPECT_NE(error(0, 0, p.slice(0, 0, 5)).find("probabilities"), std::string::npos);
  tensors.forward.bias = p;
  EXPECT_NE(error(0, 0, p).find("without a bias"), std::string::npos);
}

}  // namespace
}  // namespace strobe::testing
