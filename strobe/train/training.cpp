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

bool is_due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

Json plan_json(const MemoryPlan& plan) {
  Json json = {{"bytes", plan.bytes}, {"free_bytes", plan.free_bytes}};
  for (int use = 0; use < kMemoryUses; ++use) {
    json[std::string(to_text(static_cast<MemoryUse>(use)))] = plan.report.at_peak_bytes[use];
  }
  return json;
}

// One run as it goes: the rows that it has to write, and what the summary needs of its steps.
class Run {
 public:
  Run(const TrainOptions& options, const TrainingEvents& events)
      : options_(options), events_(events), trainer_(options) {}

  TrainingResult train();

 private:
  void write(const char* kind, const Json& fields) const;
  void write_beginning();
  void write_step(const StepMetrics& metrics);
  void validate();
  void save();
  bool stops_after(const StepMetrics& metrics, TrainingResult& result) const;
  Json summary(const TrainingResult& result);

  const TrainOptions& options_;
  const TrainingEvents& events_;
  Stopwatch watch_;
  Trainer trainer_;
  std::vector<StepMetrics> steps_;
  std::optional<Trainer::Validation> validation_;  // the last
  int64_t saved_step_ = 0;
};

void Run::write(const char* kind, const Json& fields) const {
  if (!events_.row) return;
  Json row = {{"kind", kind}, {"attention", options_.attention}};
  row.update(fields);
  events_.row(row);
}

void Run::write_beginning() {
  Json row = provenance(trainer_.context().device());
  row["options"] = options_json(options_);
  row["parameters"] = parameter_count(trainer_.model().config());
  row["attention_impl"] = trainer_.attention_implementation();
  if (const MemoryPlan& plan = trainer_.memory_plan(); plan.bytes > 0) {
    row["memory_plan"] = plan_json(plan);
  }
  row["training_samples"] = trainer_.data().split().train.size();
  row["validation_samples"] = trainer_.data().split().validation.size();
  if (options_.resume.empty()) {
    write("provenance", row);
  } else {
    row["from"] = options_.resume;
    row["step"] = trainer_.steps_done();
    write("resume", row);
  }
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
  if (options_.dtype == DType::f16) {
    row["loss_scale"] = m.loss_scale;
    row["is_skipped"] = m.is_skipped;
  }
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

void Run::save() {
  const SavedCheckpoint saved = trainer_.save();
  saved_step_ = trainer_.steps_done();
  write(
      "checkpoint",
      {{"step", saved_step_}, {"path", saved.path}, {"bytes", saved.bytes}, {"save_ms", saved.ms}});
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
  row["skipped_steps"] = trainer_.skipped_steps();
  row["loss_mean"] = mean(losses);
  row["loss_final"] = losses.back();
  row["validation_loss"] = validation_ ? Json(validation_->loss) : Json(nullptr);
  add_peak_memory(row, trainer_.context().arena().report());
  return row;
}

// Whether the run ends with this step, and if before its time, how.
bool Run::stops_after(const StepMetrics& metrics, TrainingResult& result) const {
  if (!metrics.is_finite()) {
    result.ending = Ending::diverged;
    result.reason =
        std::isfinite(metrics.loss)
            ? fmt::format("the gradient norm is {} at step {}", metrics.grad_norm, metrics.step)
            : fmt::format("the loss is {} at step {}", metrics.loss, metrics.step);
    return true;
  }
  if (metrics.step == options_.steps) return true;
  if (!events_.should_stop || !events_.should_stop()) return false;
  result.ending = Ending::interrupted;
  result.reason = fmt::format("stopped after step {} of {}", metrics.step, options_.steps);
  return true;
}

TrainingResult Run::train() {
  write_beginning();
  TrainingResult result;
  for (bool is_over = false; !is_over;) {
    const StepMetrics metrics = trainer_.step();
    steps_.push_back(metrics);
    write_step(metrics);
    if (events_.step_done) events_.step_done(metrics);
    is_over = stops_after(metrics, result);
    if (result.ending == Ending::diverged) break;
    // Also where the run is interrupted: what goes on from its checkpoint does not come back here.
    if (is_due(metrics.step, options_.validation_every) || metrics.step == options_.steps) {
      validate();
    }
    if (is_due(metrics.step, options_.save_every)) save();
  }
  if (result.ending != Ending::diverged) {
    if (options_.save_every > 0 && saved_step_ != trainer_.steps_done()) save();
    if (!options_.save_model.empty()) trainer_.save_model(options_.save_model);
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
