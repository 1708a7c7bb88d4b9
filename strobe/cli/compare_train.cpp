#include <optional>

#include "strobe/cli/compare_runs.h"
#include "strobe/cli/training_text.h"
#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/progress.h"
#include "strobe/report/training_run.h"
#include "strobe/train/training.h"

namespace strobe {

int train_once(const CompareOptions& options, const ChildCall& call, JsonlWriter& rows) {
  TrainOptions train = options.train;
  if (const int signal = prepare_training_text(train)) return 128 + signal;
  train.attention = call.attention;
  const InterruptGuard interrupt;
  const Stopwatch watch;
  // A slow point of a sweep makes do with the steps that half of its time allows.
  const auto is_enough = [&](int64_t steps) {
    return call.is_quiet && steps > static_cast<int64_t>(kUntimedSteps) &&
           watch.seconds() > options.budget / 2;
  };
  int64_t steps = 0;
  std::optional<Progress> progress;
  if (!call.is_quiet) progress.emplace(call.attention, train.steps);
  const TrainingResult result = run_training(
      train, {.row = [&](const Json& row) { rows.write(row); },
              .step_done =
                  [&](const StepMetrics& m) {
                    steps = m.step;
                    if (progress) progress->update(m.step, m.loss, m.tokens_per_s());
                  },
              .should_stop = [&] { return interrupt.requested() || is_enough(steps); }});
  progress.reset();
  check(result.ending != Ending::diverged, result.reason);
  return interrupt.requested() ? 128 + interrupt.signal() : 0;
}

}  // namespace strobe
