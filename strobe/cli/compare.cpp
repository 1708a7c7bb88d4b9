#include <sys/prctl.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/presets.h"
#include "strobe/cli/training_text.h"
#include "strobe/core/check.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/parallel.h"
#include "strobe/core/process.h"
#include "strobe/core/progress.h"
#include "strobe/report/comparison_plot.h"
#include "strobe/report/comparison_table.h"
#include "strobe/report/html_report.h"
#include "strobe/report/jsonl_reader.h"
#include "strobe/report/training_run.h"
#include "strobe/train/provenance.h"
#include "strobe/train/training.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

struct CompareOptions {
  TrainOptions train;
  std::string attention = "standard,flash";
  std::string out = "out/compare";
  Language lang = Language::english;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("Comparison");
    visit(attention,
          {.name = "attention",
           .unit = "NAMES",
           .help = "separated by commas, the first is the baseline: standard, flash, any, "
                   "or implementations that `strobe info` lists"});
    visit(out,
          {.name = "out",
           .unit = "DIR",
           .help = "folder of results.jsonl, report.html, compare.png and compare.svg, made where "
                   "missing"});
    visit(lang, {.name = "lang", .help = "language of report and pictures"},
          {Language::english, Language::traditional_chinese});
    train.visit_shared(visit);
  }
};

// The process of one run is called as `strobe compare --run-one NAME <the user's own words>`: each
// run has a process of its own, so that no run's memory or warm caches count for another.
constexpr const char* kRunOne = "--run-one";

bool parse_options(CompareOptions& options, const Arguments& arguments) {
  options.train = preset_of(arguments, "quick");
  // Shorter than a training: a comparison does it once for each attention, and validates nothing.
  if (options.train.preset == "quick") options.train.steps = 40;
  options.train.validation_batches = 0;
  OptionParser parser(
      "compare",
      "Trains the same model once with each attention: same weights, same batches, "
      "same dropout.\nPrints speed, memory and loss side by side, and writes them to "
      "OUT with a picture.");
  options.visit(parser);
  const bool is_run = parser.parse(arguments);
  options.train.out = options.out;  // where an encoded text goes
  return is_run;
}

std::string path_in(const CompareOptions& options, const std::string& file) {
  return (fs::path(options.out) / file).string();
}

std::string rows_path(const CompareOptions& options, const std::string& name) {
  return path_in(options, name + ".jsonl");
}

// The child's side: one run, its rows in a file of its own.
int run_one(const std::string& name, const Arguments& arguments) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // a run without its comparison is of no use
  CompareOptions options;
  parse_options(options, arguments);
  if (const int signal = prepare_training_text(options.train)) return 128 + signal;
  options.train.attention = name;
  JsonlWriter rows(rows_path(options, name));
  const InterruptGuard interrupt;
  TrainingResult result;
  try {
    Progress progress(name, options.train.steps);
    result = run_training(options.train, {.row = [&](const Json& row) { rows.write(row); },
                                          .step_done =
                                              [&](const StepMetrics& m) {
                                                progress.update(m.step, m.loss, m.tokens_per_s());
                                              },
                                          .should_stop = [&] { return interrupt.requested(); }});
  } catch (const Error& error) {
    rows.write({{"kind", "error"}, {"attention", name}, {"message", error.what()}});
    throw;
  }
  check(result.ending != Ending::diverged, result.reason);
  return result.ending == Ending::interrupted ? 128 + interrupt.signal() : 0;
}

// The parent's side: runs the child and takes over its rows. Returns the child's exit code.
int run_in_own_process(const CompareOptions& options, const std::string& name,
                       const Arguments& arguments, const InterruptGuard& interrupt,
                       JsonlWriter& results) {
  Arguments words = {"/proc/self/exe", "compare", kRunOne, name};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const auto child = run_process(
      words, {.input = {}, .capture_stderr = false, .signal = [&] { return interrupt.signal(); }});
  check(child.has_value(), "cannot start /proc/self/exe: no such file");
  const std::string path = rows_path(options, name);
  bool has_reason = false;
  if (fs::exists(path)) {
    for (const Json& row : read_jsonl(path)) {
      results.write(row);
      has_reason = has_reason || row["kind"] == "error" || row["kind"] == "summary";
    }
    fs::remove(path);
  }
  if (!has_reason) {
    results.write({{"kind", "error"},
                   {"attention", name},
                   {"message", fmt::format("the process ended with code {}", child->exit_code)}});
  }
  return child->exit_code;
}

// What was compared, and where: the two lines above table and picture.
std::string title_of(const TrainOptions& train) {
  return fmt::format("GPT-2: {} layers, {} heads, width {}, {} parameters", train.n_layer,
                     train.n_head, train.n_embd,
                     short_number(static_cast<double>(parameter_count(model_config(train)))));
}

std::string subtitle_of(const TrainOptions& train) {
  return fmt::format("B={}, T={}, {}, dropout {:g} · {}, {} thread{}",
                     train.batch * train.accumulation, train.seq, train.dtype, train.dropout,
                     cpu_info().model, thread_count(), thread_count() == 1 ? "" : "s");
}

Json provenance_row(const CompareOptions& options) {
  Json row = {{"kind", "provenance"}, {"command", "compare"}};
  row.update(provenance());
  row["title"] = title_of(options.train);
  row["subtitle"] = subtitle_of(options.train);
  row["options"] = options_json(options);
  return row;
}

// Everything that is shown comes from the results file alone.
void report(const CompareOptions& options, JsonlWriter& results) {
  const std::vector<TrainingRun> runs = training_runs(read_jsonl(results.path()));
  for (size_t i = 1; i < runs.size(); ++i) {
    if (!runs[0].has_steps() || !runs[i].has_steps()) continue;
    Json row = {
        {"kind", "comparison"}, {"attention", runs[i].attention}, {"baseline", runs[0].attention}};
    row.update(to_json(compare_runs(runs[0], runs[i])));
    results.write(row);
  }
  fmt::print("\n{}\n", comparison_table(runs));
  const std::string problem = draw_comparison(results.path(), options.out, options.lang);
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

}  // namespace

int compare_command(const Arguments& arguments) {
  if (arguments.size() >= 2 && arguments[0] == kRunOne) {
    return run_one(arguments[1], Arguments(arguments.begin() + 2, arguments.end()));
  }
  CompareOptions options;
  if (!parse_options(options, arguments)) return 0;
  const std::vector<std::string> names = attention_names(options.attention);
  if (options.train.threads > 0) set_thread_count(static_cast<int>(options.train.threads));
  if (const int signal = prepare_training_text(options.train)) return 128 + signal;
  const Json provenance = provenance_row(options);
  { const TrainingData readable(options.train); }  // else earlier results would be lost for nothing

  create_folder(options.out);
  JsonlWriter results(path_in(options, "results.jsonl"));
  results.write(provenance);
  fmt::print("{}\n{}\n", provenance["title"].get<std::string>(),
             provenance["subtitle"].get<std::string>());

  const InterruptGuard interrupt;
  std::string failed;
  for (const std::string& name : names) {
    if (interrupt.requested()) break;
    const int exit_code = run_in_own_process(options, name, arguments, interrupt, results);
    if (exit_code != 0 && !interrupt.requested()) {
      failed += failed.empty() ? name : " and " + name;
    }
  }
  report(options, results);
  check(failed.empty(), failed, " failed; what was measured is in ", results.path());
  return interrupt.requested() ? 128 + interrupt.signal() : 0;
}

}  // namespace strobe
