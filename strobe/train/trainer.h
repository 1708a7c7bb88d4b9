#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/data/batch_loader.h"
#include "strobe/models/gpt2.h"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "strobe/train/checkpoint.h"
#include "strobe/train/train_options.h"
#include "strobe/train/training_data.h"
#include "strobe/train/training_step.h"

namespace strobe {

struct StepMetrics {
  int64_t step = 0;      // counted from 1
  double loss = 0;       // mean over the step's predictions
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double step_ms = 0;
  double attention_ms = 0;  // of it; on a GPU, in the last step that was not replayed
  double loss_scale = 1;    // that the step was taken with
  bool is_skipped = false;  // by loss scaling: a gradient was not finite, the weights stayed
  int64_t tokens = 0;       // positions read: accumulation · batch · seq
  // Whether training can go on: loss and gradient norm are finite, or a smaller loss scale may make
  // the latter so.
  bool is_finite() const;
  double tokens_per_s() const { return 1e3 * static_cast<double>(tokens) / step_ms; }
};

// A GPT-2 in training: model, optimizer and data. A step is a function of the options and the steps
// before it: to the bit for one thread count, also where a checkpoint lies between.
class Trainer {
 public:
  // Begins with random weights, with those of options.model, or after the last step of the
  // checkpoint options.resume. Throws Error when the options do not fit together or to the
  // checkpoint, the data, model or checkpoint cannot be read, no implementation of attention can
  // run them, or memory is short.
  explicit Trainer(const TrainOptions& options);

  // Forward, backward, clipping, AdamW: over `accumulation` micro-batches.
  StepMetrics step();

  struct Validation {
    double loss = 0;  // mean over the predictions, without dropout
    int64_t predictions = 0;
  };
  // Nothing when the options or the data leave no sample for it.
  std::optional<Validation> validate();

  // Leaves OUT/checkpoint-STEP.
  SavedCheckpoint save();
  // Weights and tokenizer alone, as Hugging Face reads them.
  void save_model(const std::string& folder);

  Context& context() { return ctx_; }
  Gpt2& model() { return model_; }
  const TrainingData& data() const { return data_; }
  const TrainingState& begin() const { return begin_; }  // of a new run: step 0
  int64_t steps_done() const { return step_; }
  std::string_view attention_implementation() const { return attention_; }

  const MemoryPlan& memory_plan() const { return plan_; }
  int64_t skipped_steps() const { return device_step_.skipped_steps(); }  // since the run began

 private:
  void start();

  TrainOptions options_;
  TrainingState begin_;
  TrainingData data_;
  Gpt2Config config_;
  Device device_;
  MemoryPlan plan_;
  Context ctx_;
  Gpt2 model_;
  std::string_view attention_;
  TrainingStep device_step_;
  int64_t step_;
  int64_t micro_batches_;  // done
  BatchLoader loader_;
};

}  // namespace strobe
