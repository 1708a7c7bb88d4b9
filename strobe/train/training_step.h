#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "strobe/core/copy.h"
#include "strobe/core/graph.h"
#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_inputs.h"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "strobe/train/checkpoint.h"
#include "strobe/train/train_options.h"

namespace strobe {

// What a step leaves on the host.
struct StepOutcome {
  double loss_sum = 0;   // over all predictions of the step
  double grad_norm = 0;  // of the loss, before clipping; not finite where the step was skipped
  bool is_skipped = false;
  double attention_seconds = 0;
};

// One step as the device does it: forward and backward over the micro-batches, the gradient's norm,
// loss scaling, AdamW. Its memory is taken once; nothing in it waits for the device, and on a GPU
// the passes and the update are recorded and replayed.
class TrainingStep {
 public:
  // Memory is the arena's, for as long as the context. The loss scale goes on from `begin`.
  TrainingStep(Context& ctx, Gpt2& model, const TrainOptions& options, const TrainingState& begin);

  // `batches` and `passes` are those of the micro-batches.
  StepOutcome run(std::span<const Gpt2Batch> batches, std::span<const Gpt2TrainingPass> passes,
                  double learning_rate);

  // Takes all memory that run() takes and gives it back: for a context that is planning.
  void plan();

  // loss_scale, finite_steps and skipped_steps of the state, as they are now.
  void save_to(TrainingState& state) const;
  double loss_scale() const;  // of the next step
  int64_t skipped_steps() const;

 private:
  void compute_gradients(bool accumulate);
  void update();

  Context& ctx_;
  Gpt2& model_;
  Gpt2Config config_;
  Gpt2InputSizes sizes_;
  int64_t micro_batches_;

  Tensor words_;       // i32: the inputs of a micro-batch, and the learning rate
  Gpt2Inputs inputs_;  // in words_
  Tensor losses_;      // f32 [B·T] of a micro-batch
  Tensor numbers_;     // the scaler's and the optimizer's, 32 bits each
  std::vector<std::unique_ptr<HostBuffer>> host_words_;  // of every micro-batch
  HostBuffer host_losses_;                               // of all
  HostBuffer host_numbers_;

  std::vector<Tensor> gradients_;
  std::vector<AdamWParameter> parameters_;
  GradScaler scaler_;
  AdamWStep optimizer_;
  Graph first_pass_, further_pass_, update_;
  int64_t steps_run_ = 0;
  double attention_seconds_ = 0;
};

// Throws Error unless the device can train in the options' type, and has tf32 where that is asked
// for.
void check_can_train(const Device& device, const TrainOptions& options);

// What the options ask of the context: determinism, and how linear layers multiply. Throws Error
// where check_can_train() does.
void prepare(Context& ctx, const TrainOptions& options);

// What a run takes on its device, by category, before it begins; nothing where that is a CPU.
struct MemoryPlan {
  MemoryReport report;
  int64_t bytes = 0;       // to reserve: the report's peak, and what alignment takes
  int64_t free_bytes = 0;  // on the device, before
};
// Throws OutOfMemory as check_fits() when the device has less.
MemoryPlan plan_training(const Device& device, const Gpt2Config& config,
                         const TrainOptions& options, std::string_view attention);

// Throws OutOfMemory when a plan needs more than is allowed: with what is needed, what there is,
// and what to try.
void check_fits(const MemoryPlan& plan, int64_t allowed_bytes, const Device& device,
                std::string_view attention);

}  // namespace strobe
