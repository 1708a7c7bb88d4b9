#include "strobe/train/training.h"

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "strobe/core/clock.h"
#include "strobe/core/parallel.h"
#include "strobe/core/peak_memory.h"
#include "strobe/core/statistics.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

// One run as it goes: the rows that it has to write, and what the summary needs of its steps.
class Run {
 public:
  Run(const TrainOptions& options, const TrainingEvents& events)
      : options_(options), events_(events), trainer_(options) {}

  TrainingResult train();

 private:
  void write(const char* kind, const Json& fields) const;
  void write_provenance();
  void write_step(const StepMetrics& metrics);
  void validate();
  Json summary(const TrainingResult& result);

  const TrainOptions& options_;
  const TrainingEvents& events_;
  Stopwatch watch_;
  Trainer trainer_;
  std::vector<StepMetrics> steps_;
  std::optional<Trainer::Validation> validation_;  // the last
};

void Run::write(const char* kind, const Json& fields) const {
  if (!events_.row) return;
  Json row = {{"kind", kind}, {"attention", options_.attention}};
  row.update(fields);
  events_.row(row);
}

void Run::write_provenance() {
  Json row = provenance();
  row["options"] = options_json(options_);
  row["parameters"] = parameter_count(trainer_.model().config());
  row["attention_impl"] = trainer_.attention_implementation();
  row["training_samples"] = trainer_.data().split().train.size();
  row["validation_samples"] = trainer_.data().split().validation.size();
  write("provenance", row);
}

void Run::write_step(const StepMetrics& m) {
  Json row = {{"step", m.step},
              {"loss", m.loss},
              {"grad_norm", m.grad_norm},
              {"learning_rate", m.learning_rate},
              {"step_ms", m.step_ms},
              {"attention_ms", m.attention_ms},
              {"attention_share", m.attention_ms / m.step_ms},
              {"tokens", m.tokens},
              {"tokens_per_s", m.tokens_per_s()}};
  add_peak_memory(row, trainer_.context().arena().report());
  write("step", row);
}

void Run::validate() {
  validation_ = trainer_.validate();
  if (!validation_) return;
  write("validation", {{"step", trainer_.steps_done()},
                       {"loss", validation_->loss},
                       {"predictions", validation_->predictions}});
}

Json Run::summary(const TrainingResult& result) {
  Json row = {{"ending", to_text(result.ending)},
              {"reason", result.reason},
              {"attention_impl", trainer_.attention_implementation()},
              {"steps", steps_.size()},
              {"seconds", watch_.seconds()}};
  std::vector<double> ms, attention_ms, losses;
  for (const StepMetrics& m : steps_) {
    ms.push_back(m.step_ms);
    attention_ms.push_back(m.attention_ms);
    losses.push_back(m.loss);
  }
  // The first step pays for pages and caches that the others find ready.
  const size_t skip = steps_.size() > 1 ? 1 : 0;
  const auto warm = [&](const std::vector<double>& values) {
    return std::span(values).subspan(skip);
  };
  row["step_ms_mean"] = mean(warm(ms));
  row["step_ms_median"] = median(warm(ms));
  row["tokens_per_s"] = 1e3 * static_cast<double>(steps_.back().tokens) / mean(warm(ms));
  row["attention_ms_mean"] = mean(warm(attention_ms));
  row["attention_share"] = mean(warm(attention_ms)) / mean(warm(ms));
  row["loss_mean"] = mean(losses);
  row["loss_final"] = losses.back();
  row["validation_loss"] = validation_ ? Json(validation_->loss) : Json(nullptr);
  add_peak_memory(row, trainer_.context().arena().report());
  return row;
}

TrainingResult Run::train() {
  write_provenance();
  TrainingResult result;
  while (trainer_.steps_done() < options_.steps) {
    const StepMetrics metrics = trainer_.step();
    steps_.push_back(metrics);
    write_step(metrics);
    if (events_.step_done) events_.step_done(metrics);
    if (!metrics.is_finite()) {
      result.ending = Ending::diverged;
      result.reason =
          std::isfinite(metrics.loss)
              ? fmt::format("the gradient norm is {} at step {}", metrics.grad_norm, metrics.step)
              : fmt::format("the loss is {} at step {}", metrics.loss, metrics.step);
      break;
    }
    const bool is_last = metrics.step == options_.steps;
    if (!is_last && events_.should_stop && events_.should_stop()) {
      result.ending = Ending::interrupted;
      result.reason = fmt::format("stopped after step {} of {}", metrics.step, options_.steps);
      break;
    }
    if (is_last ||
        (options_.validation_every > 0 && metrics.step % options_.validation_every == 0)) {
      validate();
    }
  }
  result.summary = summary(result);
  write("summary", result.summary);
  return result;
}

}  // namespace

TrainingResult run_training(const TrainOptions& options, const TrainingEvents& events) {
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  Run run(options, events);
  return run.train();
}

}  // namespace strobe
