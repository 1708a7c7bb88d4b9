// Whole training steps of a small model.
#include "strobe/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>

#include "strobe/core/check.h"
#include "strobe/core/copy.h"
#include "strobe/core/parallel.h"
#include "strobe/train/training.h"
#include "strobe/train/training_step.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"

namespace strobe {
namespace {

// Two layers of 32 on the GPL-like text of lines() in windows of 48: a step takes milliseconds.
class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() : path_(::testing::TempDir() + "strobe_trainer_" + std::to_string(getpid())) {
    set_thread_count(2);
    setenv("STROBE_POISON", "1", 1);  // every tensor begins as NaN
    std::ofstream(path_) << lines();
  }
  ~TrainerTest() override { std::filesystem::remove(path_); }

  // 200 lines of 3 to 66 bytes, of which a model can learn something.
  static std::string lines() {
    std::string text;
    const std::string words[] = {"the ", "model ", "reads ", "what ", "it ", "writes, ", "again "};
    Random random(random_key(5, 0, 0));
    for (int line = 0; line < 200; ++line) {
      const uint64_t count = 1 + random.below(9);
      for (uint64_t i = 0; i < count; ++i) text += words[random.below(std::size(words))];
      text += '\n';
    }
    return text;
  }

  TrainOptions small() const {
    TrainOptions options;
    options.n_layer = 2;
    options.n_head = 2;
    options.n_embd = 32;
    options.n_positions = 64;
    options.seq = 48;
    options.batch = 3;
    options.data = path_;
    options.steps = 50;
    options.learning_rate = 3e-3;
    options.warmup = 0;
    options.device = to_text(testing::options().device);
    options.deterministic = true;
    return options;
  }

  static std::vector<double> losses(const TrainOptions& options, int64_t steps) {
    Trainer trainer(options);
    std::vector<double> result;
    for (int64_t i = 0; i < steps; ++i) result.push_back(trainer.step().loss);
    return result;
  }

  static std::vector<float> weights(Trainer& trainer) {
    std::vector<float> values;
    trainer.model().for_each_parameter([&](Parameter& p) {
      const HostView view(p.master);
      const auto* data = view.tensor().as<float>();
      values.insert(values.end(), data, data + p.master.numel());
    });
    return values;
  }

  std::string path_;
};

// f16 is for GPUs.
std::vector<DType> types_here() {
  if (testing::options().device.kind == DeviceKind::cpu) return {DType::f32, DType::bf16};
  return {DType::f32, DType::bf16, DType::f16};
}

double relative_difference(double a, double b) { return std::abs(a - b) / std::abs(b); }

TEST_F(TrainerTest, TheFirstLossIsThatOfGuessing) {
  EXPECT_NEAR(losses(small(), 1)[0], std::log(257), 0.2);
}

TEST_F(TrainerTest, ThirtyStepsLowerTheLoss) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (Batching batching : {Batching::packed, Batching::padded}) {
      TrainOptions options = small();
      options.dtype = dtype;
      options.batching = batching;
      const std::vector<double> curve = losses(options, 30);
      EXPECT_LT(curve.back(), 0.75 * curve.front()) << to_text(dtype) << " " << to_text(batching);
    }
  }
}

TEST_F(TrainerTest, StandardAndFlashGiveTheSameCurve) {
  for (Batching batching : {Batching::packed, Batching::padded}) {
    TrainOptions options = small();
    options.batching = batching;
    options.attention = "standard";
    const std::vector<double> standard = losses(options, 50);
    options.attention = "flash";
    const std::vector<double> flash = losses(options, 50);
    EXPECT_LE(relative_difference(flash[0], standard[0]), 1e-6);
    for (size_t i = 0; i < standard.size(); ++i) {
      ASSERT_LE(relative_difference(flash[i], standard[i]), 1e-4) << "step " << i + 1;
    }
  }
}

// Dropout included: the elements that fall are the same. Also with the backward pass that a GPU
// takes when nobody asks for the same bits.
TEST_F(TrainerTest, EveryDeviceGivesTheSameCurve) {
  if (testing::options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "this is the CPU";
  for (Batching batching : {Batching::packed, Batching::padded}) {
    TrainOptions options = small();
    options.batching = batching;
    options.device = "cpu";
    const std::vector<double> on_cpu = losses(options, 50);
    options.device = small().device;
    for (const bool is_deterministic : {true, false}) {
      options.deterministic = is_deterministic;
      const std::vector<double> here = losses(options, 50);
      EXPECT_LE(relative_difference(here[0], on_cpu[0]), 1e-6);
      for (size_t i = 0; i < here.size(); ++i) {
        ASSERT_LE(relative_difference(here[i], on_cpu[i]), 2e-4) << "step " << i + 1;
      }
    }
  }
}

// Of 16-bit types, to their rounding.
TEST_F(TrainerTest, EveryTypeGivesTheSameCurve) {
  const std::vector<double> exact = losses(small(), 50);
  for (DType dtype : types_here()) {
    if (dtype == DType::f32) continue;
    const double tolerance = dtype == DType::bf16 ? 2e-2 : 4e-3;
    for (const bool is_deterministic : {true, false}) {
      TrainOptions options = small();
      options.dtype = dtype;
      options.deterministic = is_deterministic;
      const std::vector<double> rounded = losses(options, 50);
      for (size_t i = 0; i < exact.size(); ++i) {
        ASSERT_LE(relative_difference(rounded[i], exact[i]), tolerance)
            << dtype << " step " << i + 1;
      }
    }
  }
}

// A loss scale that is too large makes the gradients infinite: those steps are skipped, the scale
// backs off, and training goes on as if nothing had been.
TEST_F(TrainerTest, F16SurvivesAnOverflow) {
  if (testing::options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "no f16 products here";
  TrainOptions options = small();
  options.dtype = DType::f16;
  options.loss_scale = 0x1p40;
  Trainer trainer(options);
  const std::vector<float> first = weights(trainer);
  StepMetrics metrics = trainer.step();
  EXPECT_TRUE(metrics.is_skipped);
  EXPECT_EQ(metrics.loss_scale, 0x1p40);
  EXPECT_TRUE(metrics.is_finite()) << "training can go on";
  EXPECT_EQ(weights(trainer), first);
  int64_t skipped = 1;
  while ((metrics = trainer.step()).is_skipped) ++skipped;
  EXPECT_EQ(trainer.skipped_steps(), skipped);
  EXPECT_EQ(metrics.loss_scale, std::ldexp(1.0, 40 - static_cast<int>(skipped)));
  EXPECT_NE(weights(trainer), first);
  double last = metrics.loss;
  for (int i = 0; i < 30; ++i) last = trainer.step().loss;
  EXPECT_LT(last, 0.8 * metrics.loss);
}

TEST_F(TrainerTest, TwoRunsAreEqualToTheBit) {
  for (DType dtype : types_here()) {
    TrainOptions options = small();
    options.dtype = dtype;
    options.accumulation = 2;
    Trainer a(options), b(options);
    for (int i = 0; i < 10; ++i) ASSERT_EQ(a.step().loss, b.step().loss) << "step " << i + 1;
    const std::vector<float> left = weights(a), right = weights(b);
    EXPECT_EQ(std::memcmp(left.data(), right.data(), left.size() * sizeof(float)), 0);
  }
}

TEST_F(TrainerTest, AnotherSeedIsAnotherRun) {
  TrainOptions options = small();
  const std::vector<double> first = losses(options, 2);
  options.seed = 2;
  EXPECT_NE(losses(options, 2), first);
}

// Also where the micro-batches have different numbers of predictions: lines of different lengths.
TEST_F(TrainerTest, AccumulationIsALargerBatch) {
  for (Batching batching : {Batching::packed, Batching::padded}) {
    TrainOptions options = small();
    options.dropout = 0;
    options.batching = batching;
    options.batch = 6;
    Trainer whole(options);
    options.batch = 2;
    options.accumulation = 3;
    Trainer parts(options);
    for (int i = 0; i < 10; ++i) {
      const StepMetrics a = whole.step(), b = parts.step();
      ASSERT_LE(relative_difference(b.loss, a.loss), 1e-5) << "step " << i + 1;
      ASSERT_LE(relative_difference(b.grad_norm, a.grad_norm), 1e-4) << "step " << i + 1;
      EXPECT_EQ(a.tokens, b.tokens);
    }
  }
}

TEST_F(TrainerTest, WeightDecayShrinksMatricesOnly) {
  TrainOptions options = small();
  options.learning_rate = 0.01;
  options.weight_decay = 0;
  Trainer without(options);
  options.weight_decay = 10;
  Trainer with(options);
  without.step();
  with.step();
  std::vector<Parameter*> plain;
  without.model().for_each_parameter([&](Parameter& p) { plain.push_back(&p); });
  size_t index = 0;
  with.model().for_each_parameter([&](Parameter& p) {
    const HostView a(plain[index]->master), b(p.master);
    EXPECT_EQ(std::memcmp(a.tensor().data, b.tensor().data, b.tensor().bytes()) != 0, p.decays())
        << p.hf_name;
    ++index;
  });
}

// With an epsilon far above the gradients, AdamW's first step is lr/epsilon times the gradient.
TEST_F(TrainerTest, ClippingBoundsTheUpdateNotTheReport) {
  TrainOptions options = small();
  options.learning_rate = options.epsilon = 1e3;
  options.weight_decay = 0;
  for (double clip : {0.0, 0.01}) {
    options.clip = clip;
    Trainer trainer(options);
    const std::vector<float> before = weights(trainer);
    const double norm = trainer.step().grad_norm;
    EXPECT_GT(norm, 1);
    const std::vector<float> after = weights(trainer);
    double square = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      square += (after[i] - before[i]) * static_cast<double>(after[i] - before[i]);
    }
    const double expected = clip > 0 ? clip : norm;
    EXPECT_NEAR(std::sqrt(square), expected, 0.01 * expected);
  }
}

// All samples alike and no learning: only dropout can make one step's loss differ from another's,
// or from validation's.
TEST_F(TrainerTest, EveryForwardPassHasItsOwnDropout) {
  std::ofstream text(path_);
  for (int line = 0; line < 40; ++line) text << "the same line again and again\n";
  text.close();
  TrainOptions options = small();
  options.batching = Batching::padded;
  options.learning_rate = 0;
  for (double dropout : {0.0, 0.1}) {
    options.dropout = dropout;
    Trainer trainer(options);
    const double first = trainer.step().loss, second = trainer.step().loss;
    EXPECT_EQ(first != second, dropout > 0);
    if (dropout == 0) {
      EXPECT_LE(relative_difference(trainer.validate()->loss, first), 1e-6);
    }
  }
}

TEST_F(TrainerTest, ValidationIsTheMeanOverItsPredictions) {
  TrainOptions options = small();
  options.batching = Batching::padded;
  options.validation_fraction = 0.05;  // 10 samples
  options.batch = 4;                   // 4 + 4 + 2
  Trainer trainer(options);
  const auto some = trainer.validate();
  options.batch = 10;
  Trainer one_batch(options);
  const auto all = one_batch.validate();
  ASSERT_TRUE(some && all);
  EXPECT_EQ(some->predictions, all->predictions);
  EXPECT_LE(relative_difference(some->loss, all->loss), 1e-5);
  options.validation_fraction = 0;
  EXPECT_FALSE(Trainer(options).validate());
}

TEST_F(TrainerTest, ValidationChangesNothing) {
  Trainer a(small()), b(small());
  a.validate();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(a.step().loss, b.step().loss);
}

TEST_F(TrainerTest, MemoryIsCountedByCategory) {
  Trainer trainer(small());
  const MemoryReport& report = trainer.context().arena().report();
  const int64_t before = report.current_total_bytes;
  trainer.step();
  const int64_t weights = 4 * parameter_count(trainer.model().config());
  const auto of = [&](MemoryUse use) { return report.peak_bytes[static_cast<size_t>(use)]; };
  EXPECT_EQ(of(MemoryUse::weights), weights);
  EXPECT_EQ(of(MemoryUse::gradients), weights);
  EXPECT_GE(of(MemoryUse::optimizer), 2 * weights);
  EXPECT_GT(of(MemoryUse::activations), 0);
  EXPECT_GT(of(MemoryUse::attention), 0);
  EXPECT_EQ(report.current_total_bytes, before) << "a step gives back what it took";
}

std::string error_of(const TrainOptions& options) {
  return testing::error_of([&] { Trainer trainer(options); });
}

TEST_F(TrainerTest, OptionsThatDoNotFitTogetherAreErrors) {
  const auto expect = [&](auto change, const char* text) {
    TrainOptions options = small();
    change(options);
    EXPECT_NE(error_of(options).find(text), std::string::npos) << error_of(options);
  };
  using O = TrainOptions;
  expect([](O& o) { o.seq = 65; }, "seq is 65, allowed is up to n_positions, 64");
  expect([](O& o) { o.n_head = 5; }, "n_embd is 32, allowed is a multiple of n_head");
  expect([](O& o) { o.attention = "flesh"; }, "attention is 'flesh', allowed are any, standard");
  expect([](O& o) { o.min_learning_rate = 1; }, "min_learning_rate is 1");
  expect([](O& o) { o.dropout = 0.001; }, "dropout 0.001 rounds to 0");
  expect([](O& o) { o.data = "/nowhere"; }, "'/nowhere': No such file");
}

TEST_F(TrainerTest, RowsTellTheWholeRun) {
  TrainOptions options = small();
  options.steps = 4;
  options.validation_every = 2;
  std::vector<Json> rows;
  const TrainingResult result =
      run_training(options, {.row = [&](const Json& row) { rows.push_back(row); }});
  std::string kinds;
  for (const Json& row : rows) {
    kinds += row.at("kind").get<std::string>() + " ";
    EXPECT_EQ(row.at("attention"), "any");
  }
  EXPECT_EQ(kinds, "provenance step step validation step step validation summary ");
  EXPECT_EQ(rows[0].at("options").at("seq"), 48);
  EXPECT_EQ(rows[0].at("parameters"), parameter_count(model_config(options)));
  EXPECT_EQ(rows[0].at("training_samples").get<int64_t>() +
                rows[0].at("validation_samples").get<int64_t>(),
            (static_cast<int64_t>(lines().size()) - 1) / 47);
  const Json& step = rows[2];
  EXPECT_EQ(step.at("step"), 2);
  EXPECT_EQ(step.at("tokens"), 3 * 48);
  EXPECT_GT(step.at("attention_ms"), 0);
  EXPECT_LT(step.at("attention_ms"), step.at("step_ms"));
  EXPECT_GT(step.at("peak_bytes").at("attention"), 0);
  EXPECT_GE(step.at("peak_rss_bytes"), step.at("peak_total_bytes"));
  Json last = {{"kind", "summary"}, {"attention", "any"}};
  last.update(result.summary);
  EXPECT_EQ(rows.back(), last);
  EXPECT_EQ(result.ending, Ending::finished);
  EXPECT_EQ(result.summary.at("steps"), 4);
  EXPECT_EQ(result.summary.at("loss_final"), rows[5].at("loss"));
  EXPECT_EQ(result.summary.at("validation_loss"), rows[6].at("loss"));
}

TEST_F(TrainerTest, StopsWhenAsked) {
  TrainOptions options = small();
  int steps = 0;
  const TrainingResult result =
      run_training(options, {.step_done = [&](const StepMetrics&) { ++steps; },
                             .should_stop = [&] { return steps == 3; }});
  EXPECT_EQ(result.ending, Ending::interrupted);
  EXPECT_EQ(result.reason, "stopped after step 3 of 50");
  EXPECT_EQ(result.summary.at("steps"), 3);
}

TEST_F(TrainerTest, StopsWhenTheLossIsNoNumber) {
  TrainOptions options = small();
  options.learning_rate = 1e30;
  options.schedule = ScheduleKind::constant;
  const TrainingResult result = run_training(options, {});
  EXPECT_EQ(result.ending, Ending::diverged);
  EXPECT_EQ(result.summary.at("steps"), 2);
  EXPECT_NE(result.reason.find("at step 2"), std::string::npos) << result.reason;
}

TEST_F(TrainerTest, WithoutEnoughMemorySaysWhatDidNotFit) {
  TrainOptions options = small();
  options.n_embd = 16384;
  options.n_head = 128;
  options.vocab_size = 1 << 24;  // the first tensor is a terabyte: nothing is touched
  const std::string error = error_of(options);
  const bool is_cpu = testing::options().device.kind == DeviceKind::cpu;
  const std::regex expected(
      is_cpu ? "out of memory: weights need (1048576) MiB more for a tensor of shape "
               "\\[16777216, 16384\\], in use are 0 MiB of ([0-9]+) MiB"
             : "out of memory: a training step needs ([0-9]+) MiB \\(weights [0-9]+, gradients "
               "[0-9]+, optimizer [0-9]+, activations [0-9]+.*\\), cuda has ([0-9]+) MiB; try a "
               "smaller batch with more accumulation, a shorter seq, or attention flash");
  std::smatch sizes;
  ASSERT_TRUE(std::regex_match(error, sizes, expected)) << error;
  EXPECT_GE(std::stoll(sizes[1]), 1 << 20);
  EXPECT_GT(std::stoll(sizes[2]), 0);
  EXPECT_LE(std::stoll(sizes[2]),
            (is_cpu ? cpu_info().memory_bytes : cuda_info().memory_bytes) >> 20);
}

TEST(MemoryPlanTest, WhatDoesNotFitIsNamedWithSizesAndAdvice) {
  constexpr int64_t kMiB = 1 << 20;
  MemoryPlan plan = {.bytes = 30 * kMiB};
  plan.report.at_peak_bytes[static_cast<size_t>(MemoryUse::weights)] = 9 * kMiB;
  plan.report.at_peak_bytes[static_cast<size_t>(MemoryUse::attention)] = 20 * kMiB;
  const Device second = {DeviceKind::cuda, 1};
  EXPECT_NO_THROW(check_fits(plan, 30 * kMiB, second, "any"));
  EXPECT_THROW(check_fits(plan, 30 * kMiB - 1, second, "any"), OutOfMemory);
  const std::string needs =
      "out of memory: a training step needs 30 MiB (weights 9, attention 20), cuda:1 has 29 MiB; "
      "try a smaller batch with more accumulation, a shorter seq";
  for (const char* name : {"any", "standard", "flash"}) {
    EXPECT_EQ(testing::error_of([&] { check_fits(plan, 30 * kMiB - 1, second, name); }),
              needs + (name == std::string_view("flash") ? "" : ", or attention flash"));
  }
}

}  // namespace
}  // namespace strobe
