#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/compare_runs.h"
#include "strobe/cli/loaded_model.h"
#include "strobe/cli/passed_over.h"
#include "strobe/cli/presets.h"
#include "strobe/cli/sweep.h"
#include "strobe/cli/training_text.h"
#include "strobe/core/check.h"
#include "strobe/core/parallel.h"
#include "strobe/core/peak_memory.h"
#include "strobe/core/progress.h"
#include "strobe/report/comparison_plot.h"
#include "strobe/report/comparison_table.h"
#include "strobe/report/html_report.h"
#include "strobe/report/inference_plot.h"
#include "strobe/report/inference_table.h"
#include "strobe/report/sweep_plot.h"
#include "strobe/report/sweep_table.h"
#include "strobe/report/training_run.h"
#include "strobe/train/provenance.h"
#include "strobe/train/training_data.h"
#include "strobe/train/training_step.h"

namespace strobe {
namespace {

std::string path_in(const CompareOptions& options, const std::string& file) {
  return (std::filesystem::path(options.out) / file).string();
}

// The axis of a sweep, or nothing; UsageError unless the options fit it.
std::string axis_of(const CompareOptions& options) {
  if (options.sweep.empty()) return "";
  const Sweep sweep = parse_sweep(options.sweep);
  if (sweep.axis == SweepAxis::layers && !options.train.model.empty()) {
    throw UsageError("--sweep layers needs random weights, it does not go with --model");
  }
  return std::string(to_text(sweep.axis));
}

// What fails only once a child runs would fail in each: found before earlier results are lost.
void check_readable(const CompareOptions& options) {
  if (options.task == CompareTask::train) {
    TrainOptions train = options.train;
    if (!options.sweep.empty()) train.seq = 2;  // what is long enough for a point, it says
    const TrainingData readable(train);
  } else if (!options.train.model.empty()) {
    Context ctx;
    load_model(ctx, options.train.model, options.train.dtype);
  }
}

// Children take over the environment.
void limit_memory(const CompareOptions& options, const Device& device) {
  constexpr const char* kLimit = "STROBE_MEMORY_LIMIT";
  constexpr int64_t kMiB = 1 << 20;
  int64_t limit = options.memory_limit;
  // A sweep goes to the limits of the machine; it must not push others out of memory. A GPU pushes
  // nobody out: it refuses what is not free.
  if (limit == 0 && !options.sweep.empty() && std::getenv(kLimit) == nullptr &&
      device.kind == DeviceKind::cpu) {
    limit = std::max<int64_t>(free_memory_bytes() / kMiB, 1);
  }
  if (limit > 0) setenv(kLimit, fmt::format("{}", limit).c_str(), 1);
}

Json provenance_row(const CompareOptions& options, const std::string& axis, const Device& device) {
  Json row = {{"kind", "provenance"}, {"command", "compare"}};
  row.update(provenance(device));
  row["title"] = compare_title(options, axis);
  row["subtitle"] = compare_subtitle(options, axis, device);
  row["options"] = options_json(options);
  return row;
}

// Runs each attention once. Returns what failed.
std::string measure_each(const CompareOptions& options, const std::vector<std::string>& names,
                         const Arguments& arguments, const InterruptGuard& interrupt,
                         JsonlWriter& results) {
  std::string failed;
  for (const std::string& name : names) {
    if (interrupt.requested()) break;
    if (options.task == CompareTask::generate) fmt::print(stderr, "{} …\n", name);
    const ChildResult child = run_child(
        {.attention = name, .words = arguments, .rows_path = path_in(options, name + ".jsonl")},
        interrupt);
    bool has_reason = child.ending == RunEnding::measured;
    for (const Json& row : child.rows) {
      results.write(row);
      has_reason = has_reason || row.at("kind") == "error" || row.at("kind") == "summary";
    }
    if (!has_reason) {
      results.write({{"kind", "error"}, {"attention", name}, {"message", child.message}});
    }
    if (child.ending != RunEnding::measured && !interrupt.requested()) {
      failed += failed.empty() ? name : " and " + name;
    }
  }
  return failed;
}

// Table and pictures of what the results file holds; returns why there are no pictures.
std::string show_sweep(const CompareOptions& options, const JsonRows& rows,
                       const std::string& title) {
  const SweepResults sweep = sweep_results(rows);
  fmt::print("\n{}\n", sweep_table(sweep));
  return draw_sweep(sweep, title, path_in(options, "compare"));
}

std::string show_inference(const CompareOptions& options, JsonlWriter& results,
                           const std::string& title) {
  const JsonRows rows = read_jsonl(results.path());
  fmt::print("\n{}\n", inference_table(rows));
  return draw_inference(rows, title, path_in(options, "compare"));
}

std::string show_training(const CompareOptions& options, JsonlWriter& results) {
  const std::vector<TrainingRun> runs = training_runs(read_jsonl(results.path()));
  for (size_t i = 1; i < runs.size(); ++i) {
    if (!runs[0].has_steps() || !runs[i].has_steps()) continue;
    Json row = {
        {"kind", "comparison"}, {"attention", runs[i].attention}, {"baseline", runs[0].attention}};
    row.update(to_json(compare_runs(runs[0], runs[i])));
    results.write(row);
  }
  fmt::print("\n{}\n", comparison_table(runs));
  return draw_comparison(results.path(), options.out, options.lang);
}

// Everything that is shown comes from the results file alone.
void report(const CompareOptions& options, const Json& provenance, JsonlWriter& results) {
  const std::string title = provenance.at("title").get<std::string>() + "\n" +
                            provenance.at("subtitle").get<std::string>();
  std::string problem;
  if (!options.sweep.empty()) {
    problem = show_sweep(options, read_jsonl(results.path()), title);
  } else if (options.task == CompareTask::generate) {
    problem = show_inference(options, results, title);
  } else {
    problem = show_training(options, results);
  }
  const std::string page = path_in(options, "report.html");
  write_html_report({.paths = {results.path()}, .out = page, .language = options.lang});
  fmt::print("results   {}\nreport    {}\n", results.path(), page);
  if (problem.empty()) {
    fmt::print("pictures  {}  {}\n", path_in(options, "compare.png"),
               path_in(options, "compare.svg"));
  } else {
    fmt::print(stderr, "strobe: warning: {}\n", problem);
  }
}

int run_one(const ChildCall& call) {
  return run_as_child(call, [&](JsonlWriter& rows) {
    CompareOptions options;
    parse_compare_options(options, call.words);
    return options.task == CompareTask::train ? train_once(options, call, rows)
                                              : generate_once(options, call, rows);
  });
}

// "NVIDIA H100 80GB HBM3", "AMD EPYC, 4 threads"
std::string machine_text(const Device& device) {
  if (device.kind == DeviceKind::cuda) return cuda_info(device.index).name;
  return fmt::format("{}, {} thread{}", cpu_info().model, thread_count(),
                     thread_count() == 1 ? "" : "s");
}

}  // namespace

bool parse_compare_options(CompareOptions& options, const Arguments& arguments) {
  options.train = preset_of(arguments, "quick");
  // Shorter than a training: a comparison does it once for each attention, and validates nothing.
  if (options.train.preset == "quick") options.train.steps = 40;
  if (!find_option(arguments, "sweep", "").empty()) options.train.steps = 5;
  options.train.validation_batches = 0;
  OptionParser parser(
      "compare",
      "Runs the same model once with each attention: same weights, same batches, same dropout, or "
      "the same prompt.\nPrints speed, memory and loss or text side by side, and writes them to "
      "OUT with a picture. --sweep does so\nfor several sizes.");
  options.visit(parser);
  const bool is_run = parser.parse(arguments);
  options.train.out = options.out;  // where an encoded text goes
  return is_run;
}

std::string compare_title(const CompareOptions& options, std::string_view axis) {
  const TrainOptions& train = options.train;
  if (axis == "layers") {
    return fmt::format("GPT-2: {} heads, width {}", train.n_head, train.n_embd);
  }
  return fmt::format("GPT-2: {} layer{}, {} heads, width {}, {} parameters", train.n_layer,
                     train.n_layer == 1 ? "" : "s", train.n_head, train.n_embd,
                     short_number(static_cast<double>(parameter_count(model_config(train)))));
}

std::string compare_subtitle(const CompareOptions& options, std::string_view axis,
                             const Device& device) {
  const TrainOptions& train = options.train;
  const bool is_training = options.task == CompareTask::train;
  std::vector<std::string> parts;
  if (!axis.empty()) parts.push_back(is_training ? "training" : "generation");
  if (axis != "batch") {
    parts.push_back(
        fmt::format("B={}", is_training ? train.batch * train.accumulation : train.batch));
  }
  if (is_training && axis != "seq") parts.push_back(fmt::format("T={}", train.seq));
  if (!is_training) parts.push_back(fmt::format("{} new tokens", options.new_tokens));
  parts.push_back(std::string(to_text(train.dtype)));
  if (is_training) parts.push_back(fmt::format("dropout {:g}", train.dropout));
  return fmt::format("{} · {}", fmt::join(parts, ", "), machine_text(device));
}

int compare_command(const Arguments& arguments) {
  if (is_child_call(arguments)) return run_one(child_call(arguments));
  CompareOptions options;
  if (!parse_compare_options(options, arguments)) return 0;
  say_if_gpu_is_passed_over(options.train.device);
  const std::vector<std::string> names = attention_names(options.attention);
  const std::string axis = axis_of(options);
  if (options.train.threads > 0) set_thread_count(static_cast<int>(options.train.threads));
  const bool is_training = options.task == CompareTask::train;
  const Device device = device_named(options.train.device);
  if (is_training) check_can_train(device, options.train);
  if (!is_training || axis == "seq") {  // then it is not used, and nobody need adapt it
    options.train.seq = std::min(options.train.seq, options.train.n_positions);
  }
  if (const int signal = is_training ? prepare_training_text(options.train) : 0; signal != 0) {
    return 128 + signal;
  }
  const Json provenance = provenance_row(options, axis, device);
  check_readable(options);
  limit_memory(options, device);

  create_folder(options.out);
  JsonlWriter results(path_in(options, "results.jsonl"));
  results.write(provenance);
  fmt::print("{}\n{}\n", provenance["title"].get<std::string>(),
             provenance["subtitle"].get<std::string>());
  std::fflush(stdout);

  const InterruptGuard interrupt;
  const auto measure = options.sweep.empty() ? measure_each : measure_sweep;
  Arguments words = arguments;
  words.insert(words.end(), {"--device", to_text(device)});  // also where that was `auto`
  const std::string failed = measure(options, names, words, interrupt, results);
  report(options, provenance, results);
  check(failed.empty(), failed, " failed; what was measured is in ", results.path());
  return interrupt.requested() ? 128 + interrupt.signal() : 0;
}

}  // namespace strobe
