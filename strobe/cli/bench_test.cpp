// What the benchmarks rest on: values, presets, and the check against float64.
#include <gtest/gtest.h>

#include <cmath>

#include "strobe/cli/bench_attention.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/options.h"
#include "strobe/core/device_stopwatch.h"

namespace strobe {
namespace {

std::vector<float> normal_values(int64_t count, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  fill_normal(Tensor::of(values.data(), {count}), seed);
  return values;
}

TEST(FillNormalTest, GivesTheSameNormalValuesWhateverTheSize) {
  const std::vector<float> many = normal_values(300001, 7), few = normal_values(1000, 7);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
  EXPECT_NE(few, normal_values(1000, 8));
  constexpr size_t kPeriod = 65537;
  for (size_t i = kPeriod; i < many.size(); ++i) ASSERT_EQ(many[i], many[i - kPeriod]) << i;
  double sum = 0, squares = 0;
  for (const float value : many) {
    sum += value;
    squares += double{value} * value;
  }
  EXPECT_NEAR(sum / 300001, 0, 0.02);
  EXPECT_NEAR(squares / 300001, 1, 0.02);
}

TEST(DeviceStopwatchTest, MeasuresEachSpan) {
  Context ctx;
  DeviceStopwatch watch(ctx);
  for (int i = 0; i < 3; ++i) {
    watch.begin();
    const Stopwatch busy;
    while (busy.ms() < 2) {
    }
    watch.end();
  }
  const std::vector<double> ms = watch.take_ms();
  ASSERT_EQ(ms.size(), 3u);
  for (const double one : ms) EXPECT_GE(one, 2);
  EXPECT_TRUE(watch.take_ms().empty()) << "they were taken";
}

TEST(AttentionPresetTest, ThoseOfAGpuAreThePapersGrid) {
  const std::vector<AttentionCase> papers = attention_preset("papers", {});
  EXPECT_EQ(papers.size(), 24u);
  for (const char* name : {"papers", "dropout", "padding", "short"}) {
    for (const AttentionCase& c : attention_preset(name, {})) {
      EXPECT_EQ(c.batch * c.seq_q, 16384);
      EXPECT_EQ(c.heads * c.head_dim, 2048);
      EXPECT_EQ(c.dtype, DType::bf16);
    }
  }
  for (const AttentionCase& c : attention_preset("dropout", {})) EXPECT_EQ(c.dropout, 0.1);
  for (const AttentionCase& c : attention_preset("padding", {})) {
    EXPECT_EQ(4 * c.padded_keys, c.seq_k);
    EXPECT_EQ(c.mask.kind, MaskKind::full);
  }
  EXPECT_EQ(attention_preset("short", DType::f16).front().dtype, DType::f16);
  EXPECT_THROW(attention_preset("paper", {}), UsageError);
}

// Of many queries a few are checked; the rest of the way is the same.
TEST(AttentionErrorsTest, AreThoseOfRounding) {
  Context ctx;
  const AttentionCase small = {.heads = 4, .kv_heads = 2, .seq_q = 70, .seq_k = 90, .head_dim = 32};
  AttentionCase large = {.heads = 12, .kv_heads = 12, .seq_q = 3000, .seq_k = 3000};
  AttentionCase padded = small;
  padded.mask = full();
  padded.padded_keys = 20;
  padded.dropout = 0.2;
  AttentionCase windowed = small;
  windowed.mask = window(9, 3);
  for (const AttentionCase& c : {small, padded, windowed, large}) {
    const AttentionErrors errors = measure_errors(ctx, c);
    EXPECT_EQ(errors.queries == c.seq_q, c.seq_q < 100) << errors.queries;
    for (const double error : {errors.forward_max, errors.backward_max}) EXPECT_LT(error, 3e-6);
    for (const double error : {errors.forward_rms, errors.backward_rms}) EXPECT_LT(error, 1e-6);
    EXPECT_GT(errors.backward_rms, 1e-9) << "something was compared";
  }
  large.dtype = DType::bf16;
  const AttentionErrors coarse = measure_errors(ctx, large);
  EXPECT_GT(coarse.forward_rms, 1e-3) << "bf16 cannot be so exact";
  EXPECT_LT(coarse.backward_rms, 5e-3);
}

}  // namespace
}  // namespace strobe
