// Swapping the attention of a model, and the classic mistakes of those who do it by hand: each has
// a test that the model does not make it, and that the test would see it.
#include <gtest/gtest.h>

#include <algorithm>

#include "strobe/core/copy.h"
#include "strobe/models/gpt2_files.h"
#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

constexpr int64_t kVocab = 43;
constexpr double kRounding = 2e-6;  // of f32 logits, relative to their norm
constexpr double kVisible = 1e-2;   // what a mistake changes at the least

Gpt2Config tiny_config(double dropout = 0) {
  return {.vocab_size = kVocab,
          .n_positions = 40,
          .n_embd = 32,
          .n_layer = 2,
          .n_head = 2,
          .resid_pdrop = dropout,
          .embd_pdrop = dropout,
          .attn_pdrop = dropout};
}

std::vector<double> logits_of(Context& ctx, Gpt2& model, const Gpt2Batch& batch) {
  const Arena::Scope scope(ctx.arena());
  return to_doubles(model.logits(ctx, batch));
}

// The algorithms, and each implementation that runs here.
std::vector<std::string> attention_names() {
  std::vector<std::string> names = {"any", "standard", "flash"};
  const Context ctx(options().device);
  const AttentionProblem problem = {.batch = 2,
                                    .seq_q = 24,
                                    .seq_k = 24,
                                    .heads_q = 2,
                                    .heads_kv = 2,
                                    .head_dim = 16,
                                    .mask = causal(),
                                    .has_dropout = true,
                                    .has_padding = true,
                                    .needs_backward = true};
  for (const AttentionImpl& impl : attention_impls()) {
    if (impl.why_not(problem, ctx.device()).empty()) names.emplace_back(impl.name);
  }
  return names;
}

// A model that was loaded, as users have it, and a batch with padding.
class Gpt2Swap : public ::testing::Test {
 protected:
  explicit Gpt2Swap(double dropout = 0.1)
      : ctx_(options().device, {.poison = true}),
        model_(ctx_, tiny_config(dropout)),
        batch_(random_batch(model_.config(), 2, 24, 2)) {
    randomize(ctx_, model_, 1);
    batch_.end = {24, 11};
  }

  std::vector<double> logits(const Gpt2Batch& batch) { return logits_of(ctx_, model_, batch); }

  Context ctx_;
  Gpt2 model_;
  TestBatch batch_;
};

TEST_F(Gpt2Swap, InPlaceLeavesTheLogitsToRounding) {
  const std::vector<double> before = logits(batch_.view());
  for (const std::string& name : attention_names()) {
    model_.set_attention(name);
    EXPECT_LE(relative_error(logits(batch_.view()), before), kRounding) << name;
  }
}

// Which algorithm ran shows in the last bits.
TEST_F(Gpt2Swap, TheModelsWishIsAboveTheContexts) {
  const auto run = [&](Algorithm of_context, std::string_view of_model) {
    ctx_.prefer("attention", {.algorithm = of_context});
    model_.set_attention(of_model);
    const std::vector<double> result = logits(batch_.view());
    EXPECT_EQ(ctx_.wish("attention").algorithm, of_context) << "its own wish stays";
    return result;
  };
  const std::vector<double> standard = run(Algorithm::standard, "any");
  const std::vector<double> flash = run(Algorithm::flash, "any");
  ASSERT_NE(standard, flash);
  EXPECT_EQ(run(Algorithm::flash, "standard"), standard);
  EXPECT_EQ(run(Algorithm::standard, "flash"), flash);
  EXPECT_EQ(run(Algorithm::flash, "any"), flash);
}

TEST_F(Gpt2Swap, TheConfigurationIsTheModelsFirstWish) {
  for (const char* name : {"standard", "flash", "any"}) {
    Gpt2Config config = tiny_config();
    config.attn_implementation = name;
    const Gpt2 model(ctx_, config, DType::f32, false);
    EXPECT_EQ(to_text(model.attention().algorithm), std::string_view(name));
  }
  EXPECT_NE(error_of([&] {
              model_.set_attention("flesh");
            }).find("attention is 'flesh', allowed are any, standard, flash, "),
            std::string::npos);
}

// Mistake 1: GPT-2's checkpoints have linear weights as [inputs, outputs] (Conv1D). Copied as they
// are into a layer that has [outputs, inputs] (Linear), the square one fits and is wrong.
TEST_F(Gpt2Swap, WeightsOfBothLayoutsAreTheSameModel) {
  const std::vector<double> expected = logits(batch_.view());
  const TemporaryFolder conv1d, linear;
  save_gpt2(ctx_, model_, conv1d.path(), DType::f32);
  save_gpt2(ctx_, model_, linear.path(), DType::f32);
  std::vector<NamedTensor> transposed;
  std::vector<std::vector<float>> memory;
  std::vector<std::unique_ptr<HostView>> views;
  model_.for_each_parameter([&](Parameter& p) {
    const bool is_linear = p.shape.rank == 2 && p.hf_name.find(".h.") != std::string::npos;
    Tensor tensor = views.emplace_back(std::make_unique<HostView>(p.value))->tensor();
    if (is_linear) {
      const int64_t inputs = p.shape[0], outputs = p.shape[1];
      std::vector<float>& copy = memory.emplace_back(p.value.numel());
      const std::vector<double> values = to_doubles(p.value);
      for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t o = 0; o < outputs; ++o) {
          copy[o * inputs + i] = static_cast<float>(values[i * outputs + o]);
        }
      }
      tensor = Tensor::of(copy.data(), {outputs, inputs});
    }
    transposed.push_back({p.hf_name, tensor});
  });
  write_safetensors(linear.path() + "/model.safetensors", transposed, {});
  for (const TemporaryFolder* folder : {&conv1d, &linear}) {
    Gpt2 loaded = load_gpt2(ctx_, folder->path(), DType::f32, false);
    EXPECT_EQ(logits_of(ctx_, loaded, batch_.view()), expected);
  }
  // With the mistake:
  model_.for_each_parameter([&](Parameter& p) {
    if (!p.hf_name.ends_with("attn.c_proj.weight")) return;
    std::vector<double> w = to_doubles(p.value);
    for (int64_t i = 0; i < p.shape[0]; ++i) {
      for (int64_t o = 0; o < i; ++o) std::swap(w[i * p.shape[1] + o], w[o * p.shape[1] + i]);
    }
    fill(p.value, w);
  });
  EXPECT_GE(relative_error(logits(batch_.view()), expected), kVisible);
}

// Mistake 2: a swapped layer that ignores the cache attends to the newest token alone.
TEST_F(Gpt2Swap, EveryAttentionReadsTheCache) {
  TestBatch whole = random_batch(model_.config(), 1, 24, 3);
  const std::vector<double> all = logits(whole.view());
  const std::vector<double> expected(all.end() - kVocab, all.end());
  Gpt2Batch prompt = whole.view();
  prompt.tokens = prompt.tokens.slice(1, 0, 23);
  const Tensor last = Tensor::of(&whole.tokens[23], {1});
  const std::vector<std::string> names = attention_names();
  for (size_t i = 0; i < names.size(); ++i) {
    const Arena::Scope scope(ctx_.arena());
    KvCache cache = model_.make_cache(ctx_, 1, 24);
    model_.set_attention(names[i]);
    model_.prefill(ctx_, prompt, cache);
    model_.set_attention(names[(i + 1) % names.size()]);  // also one after the other
    const std::vector<double> logits = to_doubles(model_.decode(ctx_, last, cache));
    EXPECT_LE(relative_error(logits, expected), kRounding) << names[i];
    KvCache empty = model_.make_cache(ctx_, 1, 24);
    EXPECT_GE(relative_error(to_doubles(model_.decode(ctx_, last, empty)), expected), kVisible);
  }
}

// Mistake 3: one that drops the padding mask lets the padding be read.
TEST_F(Gpt2Swap, EveryAttentionKeepsPaddingOut) {
  for (const std::string& name : attention_names()) {
    model_.set_attention(name);
    for (const bool is_left : {false, true}) {
      TestBatch batch = random_batch(model_.config(), 1, 24, 4);
      const int32_t begin = is_left ? 9 : 0, end = is_left ? 24 : 15;
      batch.begin = {begin};
      batch.end = {end};
      const auto real = [&](const std::vector<double>& all) {
        return std::vector(all.begin() + begin * kVocab, all.begin() + end * kVocab);
      };
      std::vector<int32_t> positions;
      for (int32_t t = 0; t < 24; ++t) positions.push_back(std::max(0, t - begin));
      Gpt2Batch padded = batch.view();
      padded.positions = Tensor::of(positions.data(), {1, 24});
      const Gpt2Batch alone = {.tokens = padded.tokens.slice(1, begin, end)};
      const std::vector<double> expected = logits(alone);
      EXPECT_LE(relative_error(real(logits(padded)), expected), kRounding) << name;
      if (!is_left) continue;  // causal attention never sees what is right of it
      padded.padding = {};
      EXPECT_GE(relative_error(real(logits(padded)), expected), kVisible) << name;
    }
  }
}

// Mistake 4: dropout stays on in evaluation, or off after it.
TEST_F(Gpt2Swap, EveryAttentionDropsInTrainingOnly) {
  for (const std::string& name : attention_names()) {
    model_.set_attention(name);
    const Gpt2TrainingPass pass = {.seed = 3, .step = 4};
    const double training = model_.forward_backward(ctx_, batch_.view(), pass);
    const double evaluation = model_.loss(ctx_, batch_.view());
    const std::vector<double> first = logits(batch_.view());
    EXPECT_EQ(logits(batch_.view()), first) << name;
    EXPECT_EQ(model_.forward_backward(ctx_, batch_.view(), pass), training) << name;

    Gpt2 without(ctx_, tiny_config(0));
    randomize(ctx_, without, 1);
    without.set_attention(name);
    EXPECT_EQ(without.loss(ctx_, batch_.view()), evaluation) << name;
    EXPECT_EQ(logits_of(ctx_, without, batch_.view()), first) << name;
    EXPECT_GE(std::abs(training - evaluation), 1e-3 * evaluation) << name;
  }
}

}  // namespace
}  // namespace strobe::testing
