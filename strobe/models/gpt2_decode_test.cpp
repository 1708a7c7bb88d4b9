// Reading prompts and decoding token by token against the logits of whole sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

const ArenaOptions kPoison = {.poison = true};
constexpr int64_t kVocab = 43;

Gpt2Config tiny_config() {
  return {.vocab_size = kVocab, .n_positions = 40, .n_embd = 32, .n_layer = 3, .n_head = 2};
}

// How far a row of logits may lie from that of another right computation, relative to its norm.
//
// In 16 bits, a row has been rounded 2 + 9·layers times before its logits, which are f32: embedding
// and last layernorm, and in each block two layernorms, qkv, attention's output, GELU's, two
// branches and two sums of the stream. A rounding moves a vector by at most u of its norm (half a
// unit in the last place), in a direction as good as random. Two computations need to differ in one
// place only, and the roundings behind it fall differently: a decode step's P is f32, flash rounds
// it; a GPU rounds the biases of products of many rows (linear.h). So their difference is that of
// 2·29 roundings, of which squares add up: √58·u; a row may have twice that, 0.030 in bf16. With a
// GPU's roundings, in double otherwise, rows of 2000 models drawn like this one had 0.008 (root
// mean square), the worst of 44000 rows 0.026, and one model in a hundred more than 0.02 somewhere.
//
// In f32 only the order of sums differs.
double bound_of(DType dtype) {
  if (dtype == DType::f32) return 2e-6;
  const double rounding = dtype == DType::bf16 ? 0x1p-9 : 0x1p-12;
  const auto roundings = static_cast<double>(2 + 9 * tiny_config().n_layer);
  return 2 * std::sqrt(2 * roundings) * rounding;
}

std::vector<double> row_of(const std::vector<double>& logits, int64_t row) {
  return {logits.begin() + row * kVocab, logits.begin() + (row + 1) * kVocab};
}

struct Case {
  DType dtype;
  Algorithm algorithm;
};

class Gpt2Decode : public ::testing::TestWithParam<Case> {
 protected:
  Gpt2Decode()
      : ctx_(options().device, kPoison), model_(ctx_, tiny_config(), GetParam().dtype, false) {
    ctx_.prefer("attention", {.algorithm = GetParam().algorithm});
    randomize(ctx_, model_, 1);
  }
  // Logits [length, V] of one sequence by itself.
  std::vector<double> logits_of(const TestBatch& batch, int64_t sequence, int64_t begin,
                                int64_t end) {
    const Arena::Scope scope(ctx_.arena());
    std::vector<int32_t> tokens(batch.tokens.begin() + sequence * batch.time + begin,
                                batch.tokens.begin() + sequence * batch.time + end);
    return to_doubles(model_.logits(ctx_, {.tokens = Tensor::of(tokens.data(), {1, end - begin})}));
  }
  void expect_near(const Tensor& logits, int64_t row, const std::vector<double>& expected,
                   const std::string& what) {
    EXPECT_LE(relative_error(row_of(to_doubles(logits), row), expected), bound_of(model_.dtype()))
        << what;
  }

  Context ctx_;
  Gpt2 model_;
};

// Three prompts of different lengths, each then continued by tokens of its own; one is forgotten on
// the way, and the last one takes its place.
TEST_P(Gpt2Decode, EqualsWholeSequences) {
  TestBatch batch = random_batch(model_.config(), 3, 40, 2);
  std::vector<int32_t> lengths = {7, 31, 1};
  batch.end = lengths;
  std::vector<std::vector<double>> expected;
  for (int64_t b = 0; b < 3; ++b) expected.push_back(logits_of(batch, b, 0, 40));

  const Arena::Scope scope(ctx_.arena());
  KvCache cache = model_.make_cache(ctx_, 3, 40);
  const Tensor first = model_.prefill(ctx_, batch.view(), cache);
  const Tensor without = model_.next_logits(ctx_, batch.view());
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_EQ(cache.length(b), lengths[b]);
    expect_near(first, b, row_of(expected[b], lengths[b] - 1), "prefill");
    expect_near(without, b, row_of(expected[b], lengths[b] - 1), "without cache");
  }
  std::vector<int64_t> slots = {0, 1, 2};
  for (int step = 0; step < 9; ++step) {
    if (step == 4) {
      cache.move(ctx_, 2, 0);
      slots = {2, 1};
    }
    const Arena::Scope step_scope(ctx_.arena());
    std::vector<int32_t> tokens;
    for (const int64_t b : slots) tokens.push_back(batch.tokens[b * 40 + lengths[b]++]);
    const Tensor logits = model_.decode(
        ctx_, Tensor::of(tokens.data(), {static_cast<int64_t>(tokens.size())}), cache);
    for (size_t i = 0; i < slots.size(); ++i) {
      expect_near(logits, static_cast<int64_t>(i),
                  row_of(expected[slots[i]], lengths[slots[i]] - 1),
                  fmt::format("step {} sequence {}", step, slots[i]));
      EXPECT_EQ(cache.length(static_cast<int64_t>(i)), lengths[slots[i]]);
    }
  }
  ctx_.arena().check_guards();
}

// Left padding with positions from each sequence's first token, as Hugging Face generates: the
// padding changes nothing, and the cache holds the same as that of the sequence by itself.
TEST_P(Gpt2Decode, LeftPaddingWithPositionsChangesNothing) {
  TestBatch batch = random_batch(model_.config(), 2, 20, 3);
  batch.begin = {0, 13};
  std::vector<int32_t> positions;
  for (const int32_t begin : batch.begin) {
    for (int32_t t = 0; t < 20; ++t) positions.push_back(std::max(0, t - begin));
  }
  Gpt2Batch view = batch.view();
  view.positions = Tensor::of(positions.data(), {2, 20});

  const Arena::Scope scope(ctx_.arena());
  KvCache cache = model_.make_cache(ctx_, 3, 21);
  const Tensor first = model_.prefill(ctx_, view, cache, 1);
  EXPECT_EQ(cache.length(0), 0);
  EXPECT_EQ(cache.length(2), 7);
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t length = 20 - batch.begin[b];
    const std::vector<double> alone = logits_of(batch, b, batch.begin[b], 20);
    expect_near(first, b, row_of(alone, length - 1), "prefill");
    const std::vector<double> all = to_doubles(model_.logits(ctx_, view));
    EXPECT_LE(relative_error({all.end() - (2 - b) * 20 * kVocab + batch.begin[b] * kVocab,
                              all.end() - (1 - b) * 20 * kVocab},
                             alone),
              bound_of(model_.dtype()));
  }
  cache.move(ctx_, 2, 0);
  std::vector<int32_t> token = {5};
  std::vector<int32_t> whole(batch.tokens.begin() + 33, batch.tokens.end());
  whole.push_back(5);
  const Tensor next = model_.decode(ctx_, Tensor::of(token.data(), {1}), cache);
  const Tensor expected = model_.next_logits(ctx_, {.tokens = Tensor::of(whole.data(), {1, 8})});
  expect_near(next, 0, to_doubles(expected), "decode");
}

INSTANTIATE_TEST_SUITE_P(
    Types, Gpt2Decode,
    ::testing::Values(Case{DType::f32, Algorithm::standard}, Case{DType::f32, Algorithm::flash},
                      Case{DType::bf16, Algorithm::standard}, Case{DType::bf16, Algorithm::flash},
                      Case{DType::f16, Algorithm::standard}, Case{DType::f16, Algorithm::flash}),
    [](const auto& test) { return fmt::format("{}_{}", test.param.dtype, test.param.algorithm); });

// f16 weights are the f32 ones, rounded: so are the logits, to the rounding of 10 bits.
TEST(Gpt2F16, LogitsAreNearThoseOfF32) {
  Context ctx(options().device, kPoison);
  Gpt2 wide(ctx, tiny_config(), DType::f32, false), narrow(ctx, tiny_config(), DType::f16, false);
  randomize(ctx, wide, 1);
  randomize(ctx, narrow, 1);
  for (const int64_t time : {1, 3, 40}) {
    TestBatch batch = random_batch(wide.config(), 2, time, 2);
    const Arena::Scope scope(ctx.arena());
    EXPECT_LE(relative_error(to_doubles(narrow.logits(ctx, batch.view())),
                             to_doubles(wide.logits(ctx, batch.view()))),
              2e-3);
    EXPECT_NEAR(narrow.loss(ctx, batch.view()), wide.loss(ctx, batch.view()), 1e-2);
  }
}

// What a decode step takes from the arena does not depend on the steps before, and is given back.
TEST(KvCacheTest, StepsTakeNoMoreMemory) {
  Context ctx(options().device);
  Gpt2 model(ctx, tiny_config(), DType::f32, false);
  randomize(ctx, model, 1);
  TestBatch batch = random_batch(model.config(), 1, 8, 2);
  const Arena::Scope scope(ctx.arena());
  KvCache cache = model.make_cache(ctx, 1, 40);
  EXPECT_EQ(ctx.arena().report().current_bytes[static_cast<int>(MemoryUse::cache)], cache.bytes());
  model.prefill(ctx, batch.view(), cache);
  std::vector<int32_t> token = {1};
  int64_t after_one = 0;
  for (int step = 0; step < 30; ++step) {
    const Arena::Scope step_scope(ctx.arena());
    const int64_t before = ctx.arena().report().current_total_bytes;
    ctx.arena().reset_peaks();
    const Tensor logits = model.decode(ctx, Tensor::of(token.data(), {1}), cache);
    const int64_t taken = ctx.arena().report().peak_total_bytes - before;
    EXPECT_EQ(ctx.arena().report().current_total_bytes - before,
              static_cast<int64_t>(logits.bytes()));
    // Attention's workspace may grow with the length, by a few numbers for each head.
    if (step == 0) after_one = taken;
    EXPECT_LE(taken, 2 * after_one);
  }
}

TEST(KvCacheTest, ErrorsNameTheNumbers) {
  Context ctx(options().device);
  Gpt2 model(ctx, tiny_config(), DType::f32, false);
  randomize(ctx, model, 1);
  EXPECT_EQ(error_of([&] { model.make_cache(ctx, 1, 41); }),
            "a cache of 41 positions, allowed are up to n_positions = 40");
  EXPECT_NE(error_of([&] { model.make_cache(ctx, 0, 4); }).find("0 sequences"), std::string::npos);
  KvCache cache = model.make_cache(ctx, 2, 8);
  TestBatch batch = random_batch(model.config(), 1, 8, 2);
  EXPECT_EQ(error_of([&] { model.prefill(ctx, batch.view(), cache, 2); }),
            "sequence 2 of a cache, allowed are 0 to 1");
  model.prefill(ctx, batch.view(), cache);
  std::vector<int32_t> tokens = {1, 2, 3};
  EXPECT_EQ(error_of([&] { model.decode(ctx, Tensor::of(tokens.data(), {1}), cache); }),
            "sequence 0 of the cache holds 8 positions and was to hold 1 more, allowed are 8 in "
            "all");
  cache.clear(ctx, 0);
  EXPECT_EQ(error_of([&] { model.decode(ctx, Tensor::of(tokens.data(), {3}), cache); }),
            "sequence 2 of a cache, allowed are 0 to 1");
  Gpt2 other(ctx,
             {.vocab_size = kVocab, .n_positions = 40, .n_embd = 32, .n_layer = 2, .n_head = 2});
  EXPECT_NE(error_of([&] { other.prefill(ctx, batch.view(), cache); }).find("3 blocks"),
            std::string::npos);
  batch.end = {0};
  EXPECT_EQ(error_of([&] { model.next_logits(ctx, batch.view()); }),
            "sequence 0 is the positions 0 to 0 of 8, allowed is at least one");
}

}  // namespace
}  // namespace strobe::testing
