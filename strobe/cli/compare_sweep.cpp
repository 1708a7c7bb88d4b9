#include <cstdlib>
#include <filesystem>

#include "strobe/cli/compare_runs.h"
#include "strobe/cli/sweep.h"
#include "strobe/core/check.h"
#include "strobe/core/statistics.h"
#include "strobe/report/sweep_results.h"
#include "strobe/report/training_run.h"

namespace strobe {
namespace {

struct Point {
  SweepAxis axis;
  int64_t value;
  std::string attention;
};

// The words that make a point of the user's command; where an option comes twice, the last counts.
Arguments words_of(const CompareOptions& options, const Point& point) {
  const std::string value = fmt::format("{}", point.value);
  const bool is_training = options.task == CompareTask::train;
  switch (point.axis) {
    case SweepAxis::batch: return {"--batch", value};
    case SweepAxis::layers: return {"--n-layer", value};
    case SweepAxis::seq: break;
  }
  if (!is_training) return {"--prompt-tokens", value};
  Arguments words = {"--seq", value};
  if (options.train.model.empty() && point.value > options.train.n_positions) {
    words.insert(words.end(), {"--n-positions", value});
  }
  return words;
}

void add_training(Json& row, const std::vector<Json>& rows) {
  const std::vector<TrainingRun> runs = training_runs(rows);
  check(runs.size() == 1 && runs[0].has_steps(), "the run wrote no step");
  const TrainingRun& run = runs[0];
  const RunSummary summary = summarize(run);
  const size_t skip = run.step_ms.size() > kUntimedSteps ? kUntimedSteps : 0;
  row["attention_impl"] = run.implementation;
  row["runs"] = run.step_ms.size() - skip;
  row["step_ms_median"] = summary.step_ms_median;
  row["step_ms_p10"] = summary.step_ms_p10;
  row["step_ms_p90"] = summary.step_ms_p90;
  row["attention_ms_mean"] = summary.attention_ms_mean;
  row["tokens_per_s"] = summary.tokens_per_s;
  row["peak_total_bytes"] = run.peak_total_bytes;
  row["attention_bytes"] = run.peak_bytes.at("attention");
  row["peak_rss_bytes"] = run.peak_rss_bytes;
}

void add_generation(Json& row, const std::vector<Json>& rows) {
  for (const Json& measured : rows) {
    if (measured.at("kind") != "generation") continue;
    row["attention_impl"] = measured.at("attention_impl");
    row["runs"] = measured.at("runs");
    for (const std::string name : {"prefill_ms", "token_ms", "tokens_per_s"}) {
      row[name] = measured.at(name);
      row[name + "_std"] = measured.at(name + "_std");
    }
    row["cache_bytes"] = measured.at("cache_bytes");
    row["peak_total_bytes"] = measured.at("peak_total_bytes");
    row["attention_bytes"] = measured.at("peak_bytes").at("attention");
    row["peak_rss_bytes"] = measured.at("peak_rss_bytes");
    return;
  }
  throw_error("the run wrote no row of kind \"generation\"");
}

// One attention as the sizes grow.
class Sweeper {
 public:
  Sweeper(const CompareOptions& options, const Arguments& arguments,
          const InterruptGuard& interrupt)
      : options_(options), arguments_(arguments), interrupt_(interrupt) {}

  // The point's row, or null where an interrupt came first.
  Json measure(const Point& point) {
    Json row = {{"kind", "sweep"},
                {"task", to_text(options_.task)},
                {"parameter", to_text(point.axis)},
                {"value", point.value},
                {"attention", point.attention}};
    const auto slow = too_slow_.find(point.attention);
    if (slow != too_slow_.end()) {
      return end(
          std::move(row), RunEnding::too_slow,
          fmt::format("not begun, as {} {} was too slow", to_text(point.axis), slow->second));
    }
    ChildRun run = {.attention = point.attention,
                    .words = arguments_,
                    .rows_path = (std::filesystem::path(options_.out) / "point.jsonl").string(),
                    .budget_s = options_.budget,
                    .is_quiet = true};
    const Arguments own = words_of(options_, point);
    run.words.insert(run.words.end(), own.begin(), own.end());
    const ChildResult result = run_child(run, interrupt_);
    if (result.ending == RunEnding::interrupted) return nullptr;
    if (result.ending == RunEnding::too_slow) too_slow_[point.attention] = point.value;
    if (result.ending != RunEnding::measured) {
      return end(std::move(row), result.ending, result.message);
    }
    row["ending"] = to_text(result.ending);
    (options_.task == CompareTask::train ? add_training : add_generation)(row, result.rows);
    return row;
  }

 private:
  static Json end(Json row, RunEnding ending, const std::string& message) {
    row["ending"] = to_text(ending);
    row["reason"] = message;
    return row;
  }

  const CompareOptions& options_;
  const Arguments& arguments_;
  const InterruptGuard& interrupt_;
  std::map<std::string, int64_t> too_slow_;
};

// "seq 1024   flash      51.2 ms, 73.1 MB"
void print_point(const Json& row) {
  SweepPoint point = {.ending = row.at("ending"), .row = row};
  std::string text = "   " + sweep_ending_text(point.ending);
  if (point.is_measured()) {
    const SweepResults sweep = {.task = row.at("task")};
    text.clear();
    for (const SweepQuantity& quantity : sweep.quantities()) {
      text += fmt::format("{:>10}", sweep_text(quantity, point.of(quantity).value_or(0)));
    }
  }
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

}  // namespace

std::string measure_sweep(const CompareOptions& options, const std::vector<std::string>& names,
                          const Arguments& arguments, const InterruptGuard& interrupt,
                          JsonlWriter& results) {
  const Sweep sweep = parse_sweep(options.sweep);
  size_t widest = 0;
  for (const std::string& name : names) widest = std::max(widest, name.size());
  fmt::print("\n{:>{}}", "", widest + 15);
  for (const SweepQuantity& quantity :
       SweepResults{.task = std::string(to_text(options.task))}.quantities()) {
    fmt::print("{:>10}", quantity.short_name);
  }
  fmt::print("\n");

  Sweeper sweeper(options, arguments, interrupt);
  std::string failed;
  for (const int64_t value : sweep.values) {
    for (const std::string& name : names) {
      if (interrupt.requested()) return failed;
      fmt::print("{:<6} {:>6}  {:<{}}", to_text(sweep.axis), value, name, widest);
      std::fflush(stdout);
      const Json row = sweeper.measure({sweep.axis, value, name});
      if (row.is_null()) {
        fmt::print("stopped\n");
        return failed;
      }
      results.write(row);
      print_point(row);
      if (row.at("ending") == to_text(RunEnding::failed)) {
        failed += fmt::format("{}{} at {} {}", failed.empty() ? "" : ", ", name,
                              to_text(sweep.axis), value);
      }
    }
  }
  return failed;
}

}  // namespace strobe
