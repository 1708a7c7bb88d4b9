#include "strobe/report/html_bench_groups.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "strobe/report/units.h"

namespace strobe {
namespace {

// Sizes that a row does not have are 0: they are compared, which NaN cannot be.
double number_or_zero(const Json& row, const char* field) {
  const double value = number_or_nan(row, field);
  return std::isfinite(value) ? value : 0;
}

// A peer's row may leave it out.
std::string machine_of(const Json& row) {
  return text_or_empty(row, is_gpu_row(row) ? "gpu" : "cpu");
}

// Which fields of the machine tell rows apart.
struct Machines {
  std::set<std::string> names, threads;

  explicit Machines(const std::vector<ResultsFile>& files) {
    for (const ResultsFile& file : files) {
      for (const Json& row : file.benches) {
        names.insert(machine_of(row));
        if (!is_gpu_row(row)) threads.insert(text_or_empty(row, "threads"));
      }
    }
    names.erase("");
    threads.erase("");
  }
};

std::string title_of(const Json& row, const Machines& machines, const Words& say) {
  std::string title = say.word(text_or_empty(row, "op"));
  const auto add = [&](const std::string& text) {
    if (!text.empty()) title += " · " + text;
  };
  add(say.word(text_or_empty(row, "pass")));
  add(text_or_empty(row, "dtype"));
  add(text_or_empty(row, "text"));
  add(say.word(text_or_empty(row, "mask")));
  if (row.contains("window_left")) {
    add(say("{0} keys before, {1} after", text_or_empty(row, "window_left"),
            text_or_empty(row, "window_right")));
  }
  const double heads = number_or_nan(row, "heads_q"), kv_heads = number_or_nan(row, "heads_kv");
  if (std::isfinite(heads)) {
    add(kv_heads == heads ? fmt::format("H={}", heads) : fmt::format("H={}/{}", heads, kv_heads));
    add(fmt::format("D={}", number_or_nan(row, "head_dim")));
  }
  const double layers = number_or_nan(row, "n_layer");
  if (std::isfinite(layers)) {
    add(say("{0} layers, width {1}", layers, number_or_nan(row, "n_embd")));
  }
  const double dropout = number_or_nan(row, "dropout");
  if (dropout > 0) add(say("dropout {0}", dropout));
  const double keys = number_or_nan(row, "seq_k"), queries = number_or_nan(row, "seq_q");
  if (std::isfinite(keys) && keys != queries) add(say("{0} keys", keys));
  const double padded = number_or_nan(row, "padded_keys");
  if (padded > 0) add(say("{0} of the keys are padding", percent_text(padded / keys)));
  if (machines.names.size() > 1) add(machine_of(row));
  const std::string threads = text_or_empty(row, "threads");
  if (machines.threads.size() > 1 && !threads.empty() && !is_gpu_row(row)) {
    add(threads == "1" ? say("one thread") : say("{0} threads", threads));
  }
  return title;
}

using Timings = std::map<BenchProblem, std::vector<BenchTiming>>;

std::string name_of(const Json& row, const Words& say) {
  const std::string impl = text_or_empty(row, "impl");
  return row.value("deterministic", Json(false)) == true ? say("{0}, deterministic", impl) : impl;
}

}  // namespace

bool is_gpu_row(const Json& row) { return text_or_empty(row, "device").starts_with("cuda"); }

std::vector<BenchGroup> bench_groups(const std::vector<ResultsFile>& files, const Words& say) {
  const Machines machines(files);
  std::vector<std::string> order;  // titles as they come
  std::map<std::string, Timings> by_title;
  for (const ResultsFile& file : files) {
    for (const Json& row : file.benches) {
      const double ms = number_or_nan(row, "ms_median");
      if (!(ms > 0)) continue;
      const BenchProblem problem{title_of(row, machines, say), number_or_zero(row, "batch"),
                                 number_or_zero(row, "seq_q")};
      if (!by_title.contains(problem.title)) order.push_back(problem.title);
      by_title[problem.title][problem].push_back({&row, name_of(row, say), ms});
    }
  }
  std::vector<BenchGroup> groups;
  for (const std::string& title : order) {
    groups.emplace_back(by_title[title].begin(), by_title[title].end());
  }
  return groups;
}

}  // namespace strobe
