#include <filesystem>
#include <optional>

#include "strobe/cli/commands.h"
#include "strobe/cli/passed_over.h"
#include "strobe/cli/presets.h"
#include "strobe/cli/training_text.h"
#include "strobe/core/check.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/parallel.h"
#include "strobe/core/progress.h"
#include "strobe/report/units.h"
#include "strobe/train/checkpoint.h"
#include "strobe/train/metrics_file.h"
#include "strobe/train/training.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

// "needs 3.1 GB of the GPU's 79.2 GB: weights 498.0 MB, …"
std::string memory_text(const Json& plan) {
  std::string parts;
  for (int use = 0; use < kMemoryUses; ++use) {
    const std::string name(to_text(static_cast<MemoryUse>(use)));
    const double bytes = plan.at(name).get<double>();
    if (bytes > 0)
      parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name, bytes_text(bytes));
  }
  return fmt::format("needs {} of the GPU's {}: {}", bytes_text(plan.at("bytes").get<double>()),
                     bytes_text(plan.at("free_bytes").get<double>()), parts);
}

void print_summary(const Json& summary, const TrainOptions& options, const std::string& path) {
  const auto number = [&](const char* key) { return summary.at(key).get<double>(); };
  fmt::print("steps          {}\n", summary.at("steps").get<int64_t>());
  fmt::print("loss           {:.4f} at the last step, {:.4f} on average\n", number("loss_final"),
             number("loss_mean"));
  if (!summary.at("validation_loss").is_null()) {
    fmt::print("validation     {:.4f}\n", number("validation_loss"));
  }
  if (const int64_t skipped = summary.at("skipped_steps").get<int64_t>(); skipped > 0) {
    fmt::print(
        "skipped        {} steps, whose gradients were not finite: the loss scale backed off\n",
        skipped);
  }
  fmt::print("step           {:.1f} ms median, {:.1f} ms mean, {} tokens/s\n",
             number("step_ms_median"), number("step_ms_mean"),
             short_number(number("tokens_per_s")));
  fmt::print("attention      {:.1f}% of a step, {}\n", 100 * number("attention_share"),
             summary.at("attention_impl").get<std::string>());
  fmt::print("peak memory    {}B in tensors, {}B in all\n",
             short_number(number("peak_total_bytes")), short_number(number("peak_rss_bytes")));
  fmt::print("results        {}\n", path);
  if (options.save_every > 0) fmt::print("checkpoint     {}\n", checkpoints_of(options.out).back());
  if (!options.save_model.empty()) fmt::print("model          {}\n", options.save_model);
}

// Where the options begin that the command line then changes.
TrainOptions first_options(const Arguments& arguments, const std::string& resume) {
  if (resume.empty()) return preset_of(arguments, "quick");
  for (const char* option : {"preset", "model"}) {
    if (find_option(arguments, option, "").empty()) continue;
    throw UsageError(fmt::format(
        "--{} does not go with --resume: the checkpoint has the options of its run", option));
  }
  return options_to_resume(resume);
}

// Checkpoints are hours of work: none is overwritten, and none becomes part of another run.
void check_run_folder(const TrainOptions& options) {
  const std::vector<std::string> there = checkpoints_of(options.out);
  if (there.empty()) return;
  check(!options.resume.empty(), "'", there.back(), "' is of an earlier run: go on with --resume ",
        options.out, ", or give another folder with --out");
  check(
      fs::equivalent(options.resume, there.back()), "'", there.back(),
      "' is not the checkpoint to resume from: remove the newer ones, or give another folder with "
      "--out");
  const std::string attention = read_training_state(options.resume).options.attention;
  check(options.attention == attention, "attention is '", options.attention, "', the rows in ",
        options.out, " are of '", attention, "': give another folder with --out");
}

void say_what_goes_on(const TrainOptions& options) {
  const TrainingState state = read_training_state(options.resume);
  const int threads = options.threads > 0 ? static_cast<int>(options.threads) : thread_count();
  fmt::print(stderr, "goes on after step {} of {}{}\n", state.step, options.resume,
             threads == state.threads ? ""
                                      : fmt::format(", which ran on {} threads, now {}: losses "
                                                    "agree to rounding, not to the bit",
                                                    state.threads, threads));
}

// A run that goes on in its own folder adds to what it had measured when its checkpoint was saved.
JsonlMode prepare_results(const TrainOptions& options, const std::string& path) {
  if (checkpoints_of(options.out).empty()) return JsonlMode::replace;
  rewind_metrics(path, read_training_state(options.resume).step);
  return JsonlMode::append;
}

}  // namespace

int train_command(const Arguments& arguments) {
  const std::string resume = find_option(arguments, "resume", "");
  TrainOptions options = first_options(arguments, resume);
  const std::string checkpoint = options.resume;
  OptionParser parser(
      "train",
      "Trains a GPT-2 on a text, from scratch or from given weights.\nWrites what it measures to "
      "OUT/metrics.jsonl. Ctrl-C stops after the step, with a summary and a checkpoint.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  options.resume = checkpoint;  // which the word may have meant by its run's folder
  say_if_gpu_is_passed_over(options.device);

  const std::string path = (fs::path(options.out) / "metrics.jsonl").string();
  create_folder(options.out);
  check_run_folder(options);
  if (!checkpoint.empty()) say_what_goes_on(options);
  if (const int signal = prepare_training_text(options)) return 128 + signal;
  std::optional<JsonlWriter> results;  // opened by the first row: options that do not fit together,
                                       // or a missing text, must not empty an earlier run's file
  const InterruptGuard interrupt;
  TrainingResult result;
  {
    Progress progress("train", options.steps);
    result = run_training(
        options,
        {.row =
             [&](const Json& row) {
               if (!results) results.emplace(path, prepare_results(options, path));
               results->write(row);
               if (row.contains("memory_plan")) progress.note(memory_text(row.at("memory_plan")));
               if (row.at("kind") == "validation") {
                 progress.note(fmt::format("validation loss {:.4f} after step {}",
                                           row.at("loss").get<double>(),
                                           row.at("step").get<int64_t>()));
               }
             },
         .step_done =
             [&](const StepMetrics& m) { progress.update(m.step, m.loss, m.tokens_per_s()); },
         .should_stop = [&] { return interrupt.requested(); }});
  }
  check(result.ending != Ending::diverged, result.reason, "; what was measured until then is in ",
        path);
  print_summary(result.summary, options, path);
  if (result.ending == Ending::finished) return 0;
  fmt::print(stderr, "strobe: {}\n", result.reason);
  return 128 + interrupt.signal();
}

}  // namespace strobe
