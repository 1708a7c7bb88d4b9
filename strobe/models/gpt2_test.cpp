// GPT-2's promises that need no other model to compare with.

#include "strobe/models/gpt2.h"

#include <gtest/gtest.h>

#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/models/gpt2_testing.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

const ArenaOptions kPoison = {.poison = true};

Gpt2Config tiny_config(double dropout = 0) {
  return {.vocab_size = 43,
          .n_positions = 40,
          .n_embd = 32,
          .n_layer = 2,
          .n_head = 2,
          .resid_pdrop = dropout,
          .embd_pdrop = dropout,
          .attn_pdrop = dropout};
}

// Gradients agree, tensor by tensor, to `bound` of the norm.
void expect_gradients_near(const NamedValues& actual, const NamedValues& expected, double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, values] : expected) {
    EXPECT_LE(relative_error(actual.at(name), values), bound) << name;
  }
}

TEST(Gpt2, ParameterCountsAreHuggingFaces) {
  EXPECT_EQ(parameter_count({}), 124439808);
  EXPECT_EQ(parameter_count({.n_layer = 6}), 81912576);
  EXPECT_EQ(parameter_count({.n_embd = 1600, .n_layer = 48, .n_head = 25}), 1557611200);
}

TEST(Gpt2, ParametersComeInHuggingFacesOrder) {
  std::vector<std::string> names;
  Gpt2Parameters({.n_layer = 1}).for_each([&](Parameter& p) { names.push_back(p.hf_name); });
  EXPECT_EQ(names, (std::vector<std::string>{
                       "transformer.wte.weight", "transformer.wpe.weight",
                       "transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias",
                       "transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.bias",
                       "transformer.h.0.attn.c_proj.weight", "transformer.h.0.attn.c_proj.bias",
                       "transformer.h.0.ln_2.weight", "transformer.h.0.ln_2.bias",
                       "transformer.h.0.mlp.c_fc.weight", "transformer.h.0.mlp.c_fc.bias",
                       "transformer.h.0.mlp.c_proj.weight", "transformer.h.0.mlp.c_proj.bias",
                       "transformer.ln_f.weight", "transformer.ln_f.bias"}));
}

TEST(Gpt2, FirstWeightsHaveGpt2sDeviations) {
  Context ctx(options().device, kPoison);
  Gpt2 model(ctx, {.vocab_size = 300, .n_positions = 200, .n_embd = 64, .n_layer = 3, .n_head = 2});
  model.initialize(ctx, 11);
  std::map<double, std::string> first_values;
  model.for_each_parameter([&](Parameter& p) {
    const std::vector<double> values = to_doubles(p.value);
    if (!p.decays()) {
      const bool is_scale =
          p.hf_name.find(".ln_") != std::string::npos && p.hf_name.ends_with(".weight");
      for (double value : values) ASSERT_EQ(value, is_scale ? 1 : 0) << p.hf_name;
      return;
    }
    const bool is_residual = p.hf_name.ends_with("c_proj.weight");
    const double deviation = is_residual ? 0.02 / std::sqrt(6.0) : 0.02;
    double squares = 0;
    for (double value : values) squares += value * value;
    const auto n = static_cast<double>(values.size());
    EXPECT_NEAR(squares / n / (deviation * deviation), 1, 5 * std::sqrt(2 / n)) << p.hf_name;
    const auto [same, is_new] = first_values.emplace(values[0] / deviation, p.hf_name);
    EXPECT_TRUE(is_new) << p.hf_name << " begins like " << same->second;
  });
}

TEST(Gpt2, OverfitsOneBatch) {
  Context ctx(options().device);
  Gpt2 model(ctx, tiny_config());
  model.initialize(ctx, 5);
  TestBatch batch = random_batch(model.config(), 2, 20, 1);
  const double first = model.loss(ctx, batch.view());
  EXPECT_NEAR(first, std::log(43.0), 0.2);  // first weights know nothing
  Optimizer optimizer(ctx, model, 0.01f);
  for (int64_t step = 1; step <= 60; ++step) {
    model.forward_backward(ctx, batch.view(), {});
    optimizer.step();
  }
  const double last = model.loss(ctx, batch.view());
  EXPECT_LT(last, 0.05) << "from " << first;
}

TEST(Gpt2, EvaluationEqualsTrainingWithoutDropout) {
  Context ctx(options().device, kPoison);
  Gpt2 model(ctx, tiny_config());
  randomize(ctx, model, 1);
  TestBatch batch = random_batch(model.config(), 3, 17, 2);
  const double loss = model.loss(ctx, batch.view());
  EXPECT_NEAR(model.forward_backward(ctx, batch.view(), {}), loss, 1e-6 * loss);
}

// Every gradient is written, from end to end: memory is NaN before. Twice the same to the bit.
TEST(Gpt2, GradientsAreSetAndReproducible) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Context ctx(options().device, kPoison);
    ctx.set_deterministic(true);
    Gpt2 model(ctx, tiny_config(0.1), dtype);
    randomize(ctx, model, 1);
    TestBatch batch = random_batch(model.config(), 3, 17, 2);
    const double loss = model.forward_backward(ctx, batch.view(), {.seed = 3});
    const NamedValues first = gradients_of(model);
    for (const auto& [name, values] : first) {
      for (double value : values) ASSERT_TRUE(std::isfinite(value)) << name << " " << dtype;
    }
    EXPECT_EQ(model.forward_backward(ctx, batch.view(), {.seed = 3}), loss);
    const NamedValues second = gradients_of(model);
    for (const auto& [name, values] : first) {
      EXPECT_TRUE(is_equal(name, second.at(name), values)) << dtype;
    }
    ctx.arena().check_guards();
  }
}

TEST(Gpt2, DropoutFollowsSeedAndStep) {
  Context ctx(options().device);
  Gpt2 model(ctx, tiny_config(0.1));
  randomize(ctx, model, 1);
  TestBatch batch = random_batch(model.config(), 2, 17, 2);
  const auto loss = [&](uint64_t seed, uint64_t step) {
    return model.forward_backward(ctx, batch.view(), {.seed = seed, .step = step});
  };
  const double first = loss(1, 1);
  EXPECT_EQ(loss(1, 1), first);
  EXPECT_NE(loss(1, 2), first);
  EXPECT_NE(loss(2, 1), first);
  EXPECT_NE(model.loss(ctx, batch.view()), first);
}

// The same weights, batch and dropout through both attention algorithms: equal to rounding.
TEST(Gpt2, StandardAndFlashAttentionAgree) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Gpt2Config config = tiny_config(0.1);
    config.n_positions = 150;
    TestBatch batch = random_batch(config, 3, 150, 2);
    batch.begin = {0, 0, 41};
    batch.end = {150, 67, 150};
    std::vector<double> losses;
    std::vector<NamedValues> gradients;
    for (const Algorithm algorithm : {Algorithm::standard, Algorithm::flash}) {
      Context ctx(options().device, kPoison);
      ctx.prefer("attention", {.algorithm = algorithm});
      Gpt2 model(ctx, config, dtype);
      randomize(ctx, model, 1);
      losses.push_back(model.forward_backward(ctx, batch.view(), {.seed = 3, .step = 4}));
      gradients.push_back(gradients_of(model));
    }
    const bool is_f32 = dtype == DType::f32;
    EXPECT_NEAR(losses[0], losses[1], (is_f32 ? 1e-6 : 1e-2) * losses[0]);
    expect_gradients_near(gradients[1], gradients[0], is_f32 ? 1e-5 : 5e-2);
  }
}

// Two batches, each scaled by its share of the labels, give the gradient of their union. The second
// case has logits in several chunks.
TEST(Gpt2, AccumulationEqualsTheUnion) {
  for (const auto& [vocab, time] : {std::pair{43, 17}, {50257, 500}}) {
    Gpt2Config config = tiny_config();
    config.vocab_size = vocab;
    config.n_positions = time;
    Context ctx(options().device);
    Gpt2 model(ctx, config);
    randomize(ctx, model, 1);
    TestBatch both = random_batch(config, 2, time, 2);
    for (int i = 0; i < 6; ++i) both.labels[3 + i] = kIgnoredLabel;
    const double loss = model.forward_backward(ctx, both.view(), {});
    const NamedValues expected = gradients_of(model);

    const auto total = static_cast<double>(counted_labels(both.view().labels));
    double sum = 0;
    for (int64_t part = 0; part < 2; ++part) {
      Gpt2Batch half = both.view();
      half.tokens = half.tokens.slice(0, part, part + 1);
      half.labels = half.labels.slice(0, part, part + 1);
      const double share = static_cast<double>(counted_labels(half.labels)) / total;
      sum +=
          share * model.forward_backward(ctx, half, {.loss_scale = share, .accumulate = part > 0});
    }
    EXPECT_NEAR(sum, loss, 1e-6 * loss);
    expect_gradients_near(gradients_of(model), expected, 1e-5);
  }
}

TEST(Gpt2, NoCountedLabelsGiveNoLossAndNoGradient) {
  Context ctx(options().device, kPoison);
  Gpt2 model(ctx, tiny_config());
  randomize(ctx, model, 1);
  TestBatch batch = random_batch(model.config(), 2, 9, 2);
  std::fill(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
  batch.labels[0] = batch.labels[9] = 1;  // nothing predicts a first token
  EXPECT_EQ(counted_labels(batch.view().labels), 0);
  EXPECT_EQ(model.loss(ctx, batch.view()), 0);
  for (const double share : {1.0, 0.0}) {  // 0: of the labels of a step
    model.for_each_parameter([](Parameter& p) { poison(p.grad); });
    EXPECT_EQ(model.forward_backward(ctx, batch.view(), {.loss_scale = share}), 0);
    for (const auto& [name, values] : gradients_of(model)) {
      EXPECT_TRUE(is_equal(name, values, std::vector<double>(values.size(), 0)));
    }
  }
}

// What lies right of a sequence's length changes neither its logits nor any gradient.
TEST(Gpt2, PaddingChangesNothing) {
  Context ctx(options().device, kPoison);
  Gpt2 model(ctx, tiny_config());
  randomize(ctx, model, 1);
  TestBatch alone = random_batch(model.config(), 1, 11, 2);
  model.forward_backward(ctx, alone.view(), {});
  const NamedValues expected = gradients_of(model);
  TestBatch padded = random_batch(model.config(), 1, 30, 9);
  std::copy(alone.tokens.begin(), alone.tokens.end(), padded.tokens.begin());
  padded.labels.assign(30, kIgnoredLabel);
  std::copy(alone.labels.begin(), alone.labels.end(), padded.labels.begin());
  padded.end = {11};
  model.forward_backward(ctx, padded.view(), {});
  expect_gradients_near(gradients_of(model), expected, 1e-6);
  const std::vector<double> logits = to_doubles(model.logits(ctx, alone.view()));
  std::vector<double> padded_logits = to_doubles(model.logits(ctx, padded.view()));
  padded_logits.resize(logits.size());
  EXPECT_LE(relative_error(padded_logits, logits), 1e-6);
}

TEST(Gpt2, LogitsDependOnThePastAlone) {
  Context ctx(options().device, kPoison);
  Gpt2 model(ctx, tiny_config());
  randomize(ctx, model, 1);
  TestBatch whole = random_batch(model.config(), 1, 40, 2);
  const std::vector<double> logits = to_doubles(model.logits(ctx, whole.view()));
  for (const int64_t time : {1, 2, 23}) {
    Gpt2Batch prefix = whole.view();
    prefix.tokens = prefix.tokens.slice(1, 0, time);
    const std::vector<double> expected(logits.begin(), logits.begin() + time * 43);
    EXPECT_LE(relative_error(to_doubles(model.logits(ctx, prefix)), expected), 1e-6) << time;
  }
}

TEST(Gpt2, ThreadsDoNotChangeTheResult) {
  const int threads = thread_count();
  std::vector<NamedValues> gradients;
  for (int count : {1, 3}) {
    set_thread_count(count);
    Context ctx(options().device, kPoison);
    Gpt2 model(ctx, tiny_config(0.1));
    model.initialize(ctx, 1);
    TestBatch batch = random_batch(model.config(), 3, 33, 2);
    model.forward_backward(ctx, batch.view(), {});
    gradients.push_back(gradients_of(model));
  }
  set_thread_count(threads);
  expect_gradients_near(gradients[1], gradients[0], 1e-5);
}

// A pass gives back all the memory it took; evaluation takes less than training, and flash
// attention less than standard.
TEST(Gpt2, MemoryIsCountedAndGivenBack) {
  Gpt2Config config = tiny_config(0.1);
  config.n_positions = 256;
  TestBatch batch = random_batch(config, 2, 256, 2);
  std::map<Algorithm, int64_t> attention_bytes;
  for (const Algorithm algorithm : {Algorithm::standard, Algorithm::flash}) {
    Context ctx(options().device);
    ctx.prefer("attention", {.algorithm = algorithm});
    Gpt2 model(ctx, config);
    model.initialize(ctx, 1);
    const MemoryReport& report = ctx.arena().report();
    const int64_t parameter_bytes = 4 * parameter_count(config);
    EXPECT_EQ(report.current_bytes[static_cast<int>(MemoryUse::weights)], parameter_bytes);
    EXPECT_EQ(report.current_total_bytes, 4 * parameter_bytes);
    model.loss(ctx, batch.view());
    const int64_t evaluation = report.peak_total_bytes;
    EXPECT_EQ(report.current_total_bytes, 4 * parameter_bytes);
    model.forward_backward(ctx, batch.view(), {});
    EXPECT_EQ(report.current_total_bytes, 4 * parameter_bytes);
    EXPECT_GT(report.peak_total_bytes, evaluation);
    attention_bytes[algorithm] = report.peak_bytes[static_cast<int>(MemoryUse::attention)];
  }
  EXPECT_LT(2 * attention_bytes[Algorithm::flash], attention_bytes[Algorithm::standard]);
}

TEST(Gpt2, ErrorsNameValueAndWhatIsAllowed) {
  Context ctx(options().device);
  Gpt2 model(ctx, tiny_config());
  model.initialize(ctx, 1);
  TestBatch batch = random_batch(model.config(), 1, 41, 2);
  EXPECT_EQ(error_of([&] { model.loss(ctx, batch.view()); }),
            "the sequences have 41 tokens, allowed are up to n_positions = 40");
  batch = random_batch(model.config(), 1, 8, 2);
  EXPECT_EQ(error_of([&] { model.forward_backward(ctx, batch.view(), {.loss_scale = 0}); }),
            "loss_scale is 0, allowed is more than 0");
  batch.tokens[3] = 43;
  EXPECT_NE(error_of([&] { model.loss(ctx, batch.view()); }).find("43"), std::string::npos);
  batch.tokens[3] = 42;
  batch.labels[3] = -7;
  EXPECT_NE(error_of([&] { model.loss(ctx, batch.view()); }).find("-7"), std::string::npos);
  Gpt2Batch view = batch.view();
  view.labels = view.labels.slice(1, 0, 7);
  EXPECT_EQ(error_of([&] { model.loss(ctx, view); }), "labels has shape [1, 7], expected [1, 8]");
  Gpt2 frozen(ctx, tiny_config(), DType::f32, false);
  EXPECT_EQ(error_of([&] { frozen.forward_backward(ctx, batch.view(), {}); }),
            "the model was made for evaluation only, it has no gradients");
  Context cpu;
  EXPECT_EQ(error_of([&] { Gpt2(cpu, tiny_config(), DType::f16); }),
            "the model's type is f16, allowed for training on cpu: f32, bf16");
}

}  // namespace
}  // namespace strobe::testing
