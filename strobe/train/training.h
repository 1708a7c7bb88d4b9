#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "strobe/core/json.h"
#include "strobe/train/train_options.h"
#include "strobe/train/trainer.h"

namespace strobe {

// What a run tells while it goes on. Functions that are empty are not called.
struct TrainingEvents {
  // Each row of the results, as it comes (below).
  std::function<void(const Json& row)> row;
  std::function<void(const StepMetrics& step)> step_done;
  // Asked after each step: whether to stop there, as Ctrl-C does.
  std::function<bool()> should_stop;
};

enum class Ending : unsigned char { finished, interrupted, diverged };

constexpr std::string_view to_text(Ending ending) {
  constexpr std::string_view names[] = {"finished", "interrupted", "diverged"};
  return names[static_cast<int>(ending)];
}

struct TrainingResult {
  Ending ending = Ending::finished;
  std::string reason;  // of diverged: "the loss is nan at step 7"
  Json summary;        // the summary row
};

// Trains a model as the options say: from scratch, from given weights, or on from a checkpoint.
// Every row has "kind" and "attention" (as asked for):
//   provenance  first: provenance(), "options", "parameters", "attention_impl", sample counts, on
//               a GPU "memory_plan": its bytes by category, in all, and what was free
//   resume      first instead, of a run that goes on: the same, "from" and "step" of its checkpoint
//   step        "step", "loss" (mean over the step's predictions), "grad_norm" (before clipping),
//               "learning_rate", "step_ms", "attention_ms", "attention_share", "tokens",
//               "tokens_per_s", "peak_bytes" by category, "peak_total_bytes", "peak_rss_bytes";
//               in f16 also "loss_scale" and "is_skipped"
//   validation  "step", "loss", "predictions"
//   checkpoint  "step", "path", "bytes", "save_ms": after the step's other rows
//   summary     last, however the run ends: "ending", "reason", "steps" since the run began or went
//               on, means and medians of them but the first, "skipped_steps", "loss_mean",
//               "loss_final", "validation_loss", the peaks
//
// Checkpoints come every options.save_every steps, and at the end of a run that did not diverge;
// options.save_model gets the last weights then.
// Throws Error when the options do not fit together, the data cannot be read, or memory is short.
TrainingResult run_training(const TrainOptions& options, const TrainingEvents& events);

}  // namespace strobe
