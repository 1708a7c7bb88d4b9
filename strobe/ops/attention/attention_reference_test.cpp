// The definition itself: against PyTorch's float64 (golden/attention.json, written by
// tools/make_attention_golden.py) and against finite differences.
#include "strobe/ops/attention/attention_reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "strobe/core/json.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"

namespace strobe {
namespace {

using testing::is_close;

std::vector<double> numbers(const Json& values) {
  std::vector<double> all;
  for (const Json& x : values) all.push_back(x.is_string() ? -INFINITY : x.get<double>());
  return all;
}

AttentionReferenceCase case_of(const Json& golden) {
  AttentionReferenceCase c = {.seq_q = golden["tq"],
                              .seq_k = golden["tk"],
                              .heads_q = golden["hq"],
                              .heads_kv = golden["hkv"],
                              .head_dim = golden["d"],
                              .scale = 1 / std::sqrt(golden["d"].get<double>()),
                              .is_causal = golden.value("causal", false),
                              .is_window = golden.contains("window"),
                              .sequence = golden.value("sequence", 0),
                              .dropout_threshold = golden.value("dropout", 0u)};
  if (c.is_window) {
    c.left = golden["window"][0];
    c.right = golden["window"][1];
  }
  if (golden.contains("keys")) {
    c.key_begin = golden["keys"][0];
    c.key_end = golden["keys"][1];
    c.query_begin = golden["queries"][0];
    c.query_end = golden["queries"][1];
  }
  for (int i = 0; i < 2 && golden.contains("key"); ++i) c.dropout_key[i] = golden["key"][i];
  c.q = numbers(golden["q"]);
  c.k = numbers(golden["k"]);
  c.v = numbers(golden["v"]);
  c.dout = numbers(golden["dout"]);
  if (golden.contains("bias")) c.bias = numbers(golden["bias"]);
  return c;
}

TEST(AttentionReference, EqualsPyTorch) {
  std::ifstream file(STROBE_SOURCE_DIR "/strobe/ops/attention/golden/attention.json");
  ASSERT_TRUE(file) << "strobe/ops/attention/golden/attention.json cannot be read";
  int64_t cases = 0;
  for (const Json& golden : Json::parse(file)) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const AttentionReferenceResult result = attention_reference(case_of(golden));
    EXPECT_TRUE(is_close("out", result.out, numbers(golden["out"]), 1e-11, 1e-12));
    EXPECT_TRUE(is_close("lse", result.lse, numbers(golden["lse"]), 1e-11, 1e-12));
    EXPECT_TRUE(is_close("dq", result.dq, numbers(golden["dq"]), 1e-11, 1e-12));
    EXPECT_TRUE(is_close("dk", result.dk, numbers(golden["dk"]), 1e-11, 1e-12));
    EXPECT_TRUE(is_close("dv", result.dv, numbers(golden["dv"]), 1e-11, 1e-12));
    ++cases;
  }
  EXPECT_EQ(cases, 5);
}

// d(Σ dout∘out)/dx is what backward calls dx.
TEST(AttentionReference, GradientsAreDerivatives) {
  AttentionReferenceCase c = {.seq_q = 7,
                              .seq_k = 9,
                              .heads_q = 4,
                              .heads_kv = 2,
                              .head_dim = 5,
                              .scale = 0.4,
                              .is_window = true,
                              .left = 4,
                              .right = 2,
                              .query_begin = 1,
                              .key_end = 8,
                              .sequence = 1,
                              .dropout_threshold = 77,
                              .dropout_key = {5, 6}};
  Random random(PhiloxKey{{8, 9}});
  const auto draw = [&](int64_t count) {
    std::vector<double> values(count);
    for (double& x : values) x = random.normal();
    return values;
  };
  c.q = draw(c.seq_q * c.heads_q * c.head_dim);
  c.dout = draw(c.seq_q * c.heads_q * c.head_dim);
  c.k = draw(c.seq_k * c.heads_kv * c.head_dim);
  c.v = draw(c.seq_k * c.heads_kv * c.head_dim);
  c.bias = draw(c.heads_q * c.seq_q * c.seq_k);
  const auto derivative = [&](std::vector<double> AttentionReferenceCase::*input) {
    return testing::numerical_gradient(
        [&](const std::vector<double>& x) {
          AttentionReferenceCase moved = c;
          moved.*input = x;
          const AttentionReferenceResult result = attention_reference(moved);
          double sum = 0;
          for (size_t i = 0; i < result.out.size(); ++i) sum += result.out[i] * c.dout[i];
          return sum;
        },
        c.*input);
  };
  const AttentionReferenceResult result = attention_reference(c);
  EXPECT_TRUE(is_close("dq", result.dq, derivative(&AttentionReferenceCase::q), 1e-6, 1e-8));
  EXPECT_TRUE(is_close("dk", result.dk, derivative(&AttentionReferenceCase::k), 1e-6, 1e-8));
  EXPECT_TRUE(is_close("dv", result.dv, derivative(&AttentionReferenceCase::v), 1e-6, 1e-8));
  EXPECT_TRUE(
      is_close("dbias", result.dbias, derivative(&AttentionReferenceCase::bias), 1e-6, 1e-8));
}

}  // namespace
}  // namespace strobe
