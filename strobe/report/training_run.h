#pragma once

#include <map>
#include <string>
#include <vector>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// What the rows of one training run say. Vectors hold one value for each step.
struct TrainingRun {
  std::string attention;       // as it was asked for: "flash"
  std::string implementation;  // what ran: "cpu_flash_avx512"
  std::vector<double> steps;   // their numbers, ascending
  std::vector<double> losses;
  std::vector<double> step_ms;
  std::vector<double> attention_ms;
  std::vector<double> tokens;
  std::vector<std::pair<double, double>> validations;  // step and loss
  double peak_total_bytes = 0;                         // of the arena
  double peak_rss_bytes = 0;                           // of the process
  std::map<std::string, double> peak_bytes;            // of each category by itself
  std::map<std::string, double> at_peak_bytes;         // when the total peaked: adds up to it
  std::string ending;  // "finished", "interrupted", "diverged", "failed"; empty: it does not say
  std::string error;   // why it ended early; empty if it did not

  bool has_steps() const { return !losses.empty(); }
};

// The runs of a results file, in the order in which they come: rows of kind "provenance", "step",
// "validation", "summary" and "error" belong to the run that "attention" names, others are passed
// over. A run that was resumed goes on after the step that it went back to. Throws Error when a
// field is missing.
std::vector<TrainingRun> training_runs(const JsonRows& rows);
// Adds one row to the runs so far.
void add_training_row(std::vector<TrainingRun>& runs, const Json& row);

// The first step also touches new memory and prepares kernels, so times leave it out (unless it is
// the only one); losses do not.
constexpr size_t kUntimedSteps = 1;

// One run in numbers.
struct RunSummary {
  size_t steps = 0;
  double step_ms_mean = 0, step_ms_median = 0, step_ms_p10 = 0, step_ms_p90 = 0;
  double steps_per_s = 0, tokens_per_s = 0;
  double attention_ms_mean = 0;
  double attention_share = 0;  // of the step time
  double loss_mean = 0, loss_final = 0;
};
RunSummary summarize(const TrainingRun& run);

// One run against the first. Shares are 1 − run/baseline, negative when the run needs more.
struct Gains {
  double speedup = 0;            // of the median step
  double attention_speedup = 0;  // of the mean time in attention
  double step_time_saved = 0, attention_time_saved = 0;
  double memory_saved = 0, attention_memory_saved = 0;
  double loss_difference = 0;           // the largest over the steps that both ran
  double loss_difference_relative = 0;  // likewise, over the baseline's loss
  double first_loss_difference_relative = 0;
};
Gains compare_runs(const TrainingRun& baseline, const TrainingRun& run);
Json to_json(const Gains& gains);

}  // namespace strobe
