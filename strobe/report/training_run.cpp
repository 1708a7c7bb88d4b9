#include "strobe/report/training_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "strobe/core/check.h"
#include "strobe/core/statistics.h"

namespace strobe {
namespace {

double number(const Json& row, const char* field) {
  const auto found = row.find(field);
  check(found != row.end() && found->is_number(), "a row of kind \"",
        row["kind"].get<std::string>(), "\" has no number \"", field, "\"");
  return found->get<double>();
}

std::map<std::string, double> numbers(const Json& row, const char* field) {
  const auto found = row.find(field);
  check(found != row.end() && found->is_object(), "a row of kind \"",
        row["kind"].get<std::string>(), "\" has no object \"", field, "\"");
  return found->get<std::map<std::string, double>>();
}

TrainingRun& run_of(std::vector<TrainingRun>& runs, const Json& row) {
  const auto field = row.find("attention");
  check(field != row.end() && field->is_string(), "a row of kind \"",
        row["kind"].get<std::string>(), "\" does not say which attention it is of");
  const auto& name = field->get_ref<const std::string&>();
  const auto found = std::find_if(runs.begin(), runs.end(),
                                  [&](const TrainingRun& run) { return run.attention == name; });
  if (found != runs.end()) return *found;
  runs.emplace_back();
  runs.back().attention = name;
  return runs.back();
}

void add_peaks(TrainingRun& run, const Json& row) {
  run.peak_total_bytes = number(row, "peak_total_bytes");
  run.peak_rss_bytes = number(row, "peak_rss_bytes");
  run.peak_bytes = numbers(row, "peak_bytes");
  run.at_peak_bytes = numbers(row, "at_peak_bytes");
}

// Forgets step number `step` and those after it: a run that was resumed does them again.
void go_back_before(TrainingRun& run, double step) {
  const auto first = std::lower_bound(run.steps.begin(), run.steps.end(), step);
  const auto kept = static_cast<size_t>(first - run.steps.begin());
  for (auto* values : {&run.steps, &run.losses, &run.step_ms, &run.attention_ms, &run.tokens}) {
    values->resize(kept);
  }
  std::erase_if(run.validations, [&](const auto& v) { return v.first >= step; });
}

// A step whose loss is null (NaN) is where the run stopped: its summary says so.
void add_step(TrainingRun& run, const Json& row) {
  if (row.contains("loss") && row["loss"].is_null()) return;
  const double step = number(row, "step");
  if (run.has_steps() && step <= run.steps.back()) go_back_before(run, step);
  run.losses.push_back(number(row, "loss"));
  run.step_ms.push_back(number(row, "step_ms"));
  run.attention_ms.push_back(number(row, "attention_ms"));
  run.tokens.push_back(number(row, "tokens"));
  run.steps.push_back(step);
  if (row.contains("peak_total_bytes")) add_peaks(run, row);  // so far, if no summary follows
}

void add_summary(TrainingRun& run, const Json& row) {
  run.ending = row.value("ending", "finished");
  if (run.ending != "finished") {
    run.error = row.value("reason", "");
    if (run.error.empty()) run.error = run.ending;
  }
  add_peaks(run, row);
}

void add_validation(TrainingRun& run, const Json& row) {
  if (row.contains("loss") && row["loss"].is_null()) return;
  run.validations.emplace_back(number(row, "step"), number(row, "loss"));
}

double sum(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double value_or_zero(const std::map<std::string, double>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? 0 : found->second;
}

// The larger one; NaN wins and stays.
double larger_or_nan(double a, double b) { return std::isnan(a) || a >= b ? a : b; }

// Undefined ratios (nothing was measured) are NaN, which JSON writes as null.
double ratio(double a, double b) { return b > 0 ? a / b : std::nan(""); }

}  // namespace

void add_training_row(std::vector<TrainingRun>& runs, const Json& row) {
  const std::string& kind = row["kind"].get_ref<const std::string&>();
  if (kind == "provenance" && row.contains("attention")) {
    TrainingRun& run = run_of(runs, row);
    run.implementation = row.value("attention_impl", "");
    run.ending = run.error = "";  // it begins, or goes on
  }
  if (kind == "step") add_step(run_of(runs, row), row);
  if (kind == "validation") add_validation(run_of(runs, row), row);
  if (kind == "summary") add_summary(run_of(runs, row), row);
  if (kind == "error") {
    TrainingRun& run = run_of(runs, row);
    run.ending = "failed";
    run.error = row.value("message", "unknown error");
  }
}

std::vector<TrainingRun> training_runs(const JsonRows& rows) {
  std::vector<TrainingRun> runs;
  for (const Json& row : rows) add_training_row(runs, row);
  return runs;
}

RunSummary summarize(const TrainingRun& run) {
  check(run.has_steps(), run.attention, " finished no step");
  const size_t steps = run.losses.size();
  const size_t skip = std::min(kUntimedSteps, steps - 1);
  const auto measured = [&](const std::vector<double>& values) {
    return std::span(values).subspan(skip);
  };
  const double total_ms = sum(measured(run.step_ms));
  return {
      .steps = steps,
      .step_ms_mean = mean(measured(run.step_ms)),
      .step_ms_median = median(measured(run.step_ms)),
      .step_ms_p10 = percentile(measured(run.step_ms), 10),
      .step_ms_p90 = percentile(measured(run.step_ms), 90),
      .steps_per_s = ratio(1000 * static_cast<double>(steps - skip), total_ms),
      .tokens_per_s = ratio(1000 * sum(measured(run.tokens)), total_ms),
      .attention_ms_mean = mean(measured(run.attention_ms)),
      .attention_share = ratio(sum(measured(run.attention_ms)), total_ms),
      .loss_mean = mean(run.losses),
      .loss_final = run.losses.back(),
  };
}

Gains compare_runs(const TrainingRun& baseline, const TrainingRun& run) {
  const RunSummary a = summarize(baseline), b = summarize(run);
  Gains gains{
      .speedup = ratio(a.step_ms_median, b.step_ms_median),
      .attention_speedup = ratio(a.attention_ms_mean, b.attention_ms_mean),
      .step_time_saved = 1 - ratio(b.step_ms_median, a.step_ms_median),
      .attention_time_saved = 1 - ratio(b.attention_ms_mean, a.attention_ms_mean),
      .memory_saved = 1 - ratio(run.peak_total_bytes, baseline.peak_total_bytes),
      .attention_memory_saved = 1 - ratio(value_or_zero(run.peak_bytes, "attention"),
                                          value_or_zero(baseline.peak_bytes, "attention")),
  };
  for (size_t i = 0; i < std::min(baseline.losses.size(), run.losses.size()); ++i) {
    const double difference = std::abs(run.losses[i] - baseline.losses[i]);
    const double relative = ratio(difference, std::abs(baseline.losses[i]));
    if (i == 0) gains.first_loss_difference_relative = relative;
    gains.loss_difference = larger_or_nan(gains.loss_difference, difference);
    gains.loss_difference_relative = larger_or_nan(gains.loss_difference_relative, relative);
  }
  return gains;
}

Json to_json(const Gains& g) {
  return {
      {"speedup", g.speedup},
      {"attention_speedup", g.attention_speedup},
      {"step_time_saved", g.step_time_saved},
      {"attention_time_saved", g.attention_time_saved},
      {"memory_saved", g.memory_saved},
      {"attention_memory_saved", g.attention_memory_saved},
      {"loss_difference", g.loss_difference},
      {"loss_difference_relative", g.loss_difference_relative},
      {"first_loss_difference_relative", g.first_loss_difference_relative},
  };
}

}  // namespace strobe
