#include <filesystem>
#include <optional>

#include "strobe/cli/commands.h"
#include "strobe/cli/presets.h"
#include "strobe/core/check.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/progress.h"
#include "strobe/train/training.h"

namespace strobe {
namespace {

void print_summary(const Json& summary, const std::string& path) {
  const auto number = [&](const char* key) { return summary.at(key).get<double>(); };
  fmt::print("steps          {}\n", summary.at("steps").get<int64_t>());
  fmt::print("loss           {:.4f} at the last step, {:.4f} on average\n", number("loss_final"),
             number("loss_mean"));
  if (!summary.at("validation_loss").is_null()) {
    fmt::print("validation     {:.4f}\n", number("validation_loss"));
  }
  fmt::print("step           {:.1f} ms median, {:.1f} ms mean, {} tokens/s\n",
             number("step_ms_median"), number("step_ms_mean"),
             short_number(number("tokens_per_s")));
  fmt::print("attention      {:.1f}% of a step, {}\n", 100 * number("attention_share"),
             summary.at("attention_impl").get<std::string>());
  fmt::print("peak memory    {}B in tensors, {}B in all\n",
             short_number(number("peak_total_bytes")), short_number(number("peak_rss_bytes")));
  fmt::print("results        {}\n", path);
}

}  // namespace

int train_command(const Arguments& arguments) {
  TrainOptions options = preset_of(arguments, "quick");
  OptionParser parser(
      "train",
      "Trains a GPT-2 from scratch on a text and writes what it measured to "
      "OUT/metrics.jsonl.\nCtrl-C stops after the step and still writes the summary.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;

  create_folder(options.out);
  const std::string path = (std::filesystem::path(options.out) / "metrics.jsonl").string();
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
               if (!results) results.emplace(path);
               results->write(row);
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
  print_summary(result.summary, path);
  if (result.ending == Ending::finished) return 0;
  fmt::print(stderr, "strobe: {}\n", result.reason);
  return 128 + interrupt.signal();
}

}  // namespace strobe
