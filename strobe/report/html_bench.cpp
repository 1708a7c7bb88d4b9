// The section of benchmark rows: those of all files together, so that peers stand beside Strobe.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/progress.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// One implementation's time on one problem.
struct Timing {
  const Json* row;
  std::string impl;
  double ms = 0;
};

// What was timed, in all but the implementation.
struct Problem {
  std::string title;  // shared by the problems of one chart: "attention, forward, f32, causal, …"
  double batch = 0, length = 0;
  bool operator<(const Problem& other) const {
    return std::tie(title, length, batch) < std::tie(other.title, other.length, other.batch);
  }
};

std::string machine_of(const Json& row) {
  return text_or_empty(row, "cpu") + ", " + text_or_empty(row, "threads");
}

std::string title_of(const Json& row, bool has_machine, const Words& say) {
  std::string title = say.word(text_or_empty(row, "op"));
  const auto add = [&](const std::string& text) {
    if (!text.empty()) title += " · " + text;
  };
  add(say.word(text_or_empty(row, "pass")));
  add(text_or_empty(row, "dtype"));
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
  if (has_machine) add(say("{0} threads", machine_of(row)));
  return title;
}

using Timings = std::map<Problem, std::vector<Timing>>;

// The timings of one title, by problem.
using Group = std::vector<std::pair<Problem, std::vector<Timing>>>;

std::vector<Group> groups_of(const std::vector<ResultsFile>& files, const Words& say) {
  std::map<std::string, int> machines;
  for (const ResultsFile& file : files) {
    for (const Json& row : file.benches) ++machines[machine_of(row)];
  }
  std::vector<std::string> order;  // titles as they come
  std::map<std::string, Timings> by_title;
  for (const ResultsFile& file : files) {
    for (const Json& row : file.benches) {
      const double ms = number_or_nan(row, "ms_median");
      if (!(ms > 0)) continue;
      const Problem problem{title_of(row, machines.size() > 1, say), number_or_nan(row, "batch"),
                            number_or_nan(row, "seq_q")};
      if (!by_title.contains(problem.title)) order.push_back(problem.title);
      by_title[problem.title][problem].push_back({&row, text_or_empty(row, "impl"), ms});
    }
  }
  std::vector<Group> groups;
  for (const std::string& title : order) {
    groups.emplace_back(by_title[title].begin(), by_title[title].end());
  }
  return groups;
}

Markup bench_chart(const Group& group, const Words& say, Palette& palette) {
  LineChart chart{.title = group[0].first.title,
                  .x_title = say("length T"),
                  .y_title = say("GFLOP/s, more is faster"),
                  .is_log_x = true,
                  .is_from_zero = true,
                  .has_all_x = true};
  std::vector<Series>& series = chart.series;
  Series matmul{say("matrix product (oneDNN)"), kChartColours - 1, {}, Series::Look::dashed};
  for (const auto& [problem, timings] : group) {
    for (const Timing& timing : timings) {
      const double gflops = number_or_nan(*timing.row, "gflops");
      if (!std::isfinite(gflops)) continue;
      auto found = std::ranges::find(series, timing.impl, &Series::name);
      if (found == series.end()) {
        series.push_back({timing.impl, palette.colour_of(timing.impl), {}});
        found = series.end() - 1;
      }
      // Several batches of one length: the curve keeps the first.
      if (found->points.empty() || found->points.back().x < problem.length) {
        found->points.push_back({problem.length, gflops});
      }
      const double rate = number_or_nan(*timing.row, "matmul_gflops");
      const bool is_ours = !timing.row->contains("peer");
      if (is_ours && std::isfinite(rate) &&
          (matmul.points.empty() || matmul.points.back().x < problem.length)) {
        matmul.points.push_back({problem.length, rate});
      }
    }
  }
  for (const Series& s : series) {
    double best = 0;
    for (const ChartPoint& p : s.points) best = std::max(best, p.y);
    chart.description += say("{0}: up to {1} GFLOP/s. ", s.name, fmt::format("{:.0f}", best));
  }
  if (!matmul.points.empty()) series.push_back(std::move(matmul));
  return figure(chart);
}

Markup cell(const Json& row, const char* field, const std::function<std::string(double)>& text) {
  const double value = number_or_nan(row, field);
  return std::isfinite(value) ? data(value, text(value)) : Markup::literal("–");
}

Markup bench_table(const Group& group, const Words& say) {
  HtmlTable table(
      group[0].first.title,
      {say("implementation"), say("median"), say("10th to 90th percentile"), "GFLOP/s",
       say("of matrix product"), say("tokens per second"), say("memory"), say("error")});
  for (const auto& [problem, timings] : group) {
    bool is_first = true;
    for (const Timing& timing : timings) {
      const Json& row = *timing.row;
      if (is_first) table.add_rule();
      is_first = false;
      const auto ms = [](double x) { return milliseconds_text(x); };
      const double kept = number_or_nan(row, "saved_bytes") + number_or_nan(row, "workspace_bytes");
      const double peak = number_or_nan(row, "peak_total_bytes");
      const double memory = std::isfinite(kept) ? kept : peak;
      table.add(fmt::format("B={} T={}  {}", problem.batch, problem.length, timing.impl),
                {cell(row, "ms_median", ms),
                 cell(row, "ms_p10", ms) + Markup::literal(" – ") + cell(row, "ms_p90", ms),
                 cell(row, "gflops", [](double x) { return fmt::format("{:.0f}", x); }),
                 cell(row, "ratio", percent_text), cell(row, "tokens_per_s", short_number),
                 std::isfinite(memory) ? data(memory, bytes_text(memory)) : Markup::literal("–"),
                 cell(row, "max_err", power_text)});
    }
  }
  return table.markup();
}

// How many times faster `name` was than another, over the problems that both ran.
struct Race {
  std::vector<double> speedups;
  double mean() const {  // geometric
    double sum = 0;
    for (double s : speedups) sum += std::log(s);
    return std::exp(sum / static_cast<double>(speedups.size()));
  }
};

// The implementation that the others are held against: flash where there is one.
std::string protagonist(const std::vector<Group>& groups) {
  std::string first;
  for (const Group& group : groups) {
    for (const auto& [problem, timings] : group) {
      for (const Timing& timing : timings) {
        if (timing.row->contains("peer")) continue;
        if (timing.impl.find("flash") != std::string::npos) return timing.impl;
        if (first.empty()) first = timing.impl;
      }
    }
  }
  return first;
}

std::vector<Sentence> bench_reading(const std::vector<Group>& groups, const Words& say) {
  const std::string name = protagonist(groups);
  std::vector<std::pair<std::string, std::map<std::string, Race>>> passes;  // by op and pass
  for (const Group& group : groups) {
    const Json& any = *group[0].second[0].row;
    const std::string pass =
        say.word(text_or_empty(any, "op")) + ", " + say.word(text_or_empty(any, "pass"));
    auto found = std::ranges::find(passes, pass,
                                   &std::pair<std::string, std::map<std::string, Race>>::first);
    if (found == passes.end()) {
      passes.push_back({pass, {}});
      found = passes.end() - 1;
    }
    for (const auto& [problem, timings] : group) {
      const auto mine = std::ranges::find(timings, name, &Timing::impl);
      if (mine == timings.end()) continue;
      for (const Timing& timing : timings) {
        if (timing.impl != name)
          found->second[timing.impl].speedups.push_back(timing.ms / mine->ms);
      }
    }
  }
  std::vector<Sentence> reading;
  for (const auto& [pass, races] : passes) {
    for (const auto& [other, race] : races) {
      const double mean = race.mean();
      const bool is_slower = mean < 1;
      auto [least, most] = std::ranges::minmax(race.speedups);
      if (is_slower) std::tie(least, most) = std::pair(1 / most, 1 / least);
      const std::string range = race.speedups.size() == 1
                                    ? say("one problem")
                                    : say("{0} problems, from {1}× to {2}×", race.speedups.size(),
                                          factor_text(least), factor_text(most));
      reading.push_back({is_slower ? say("{0}: {1} was {2}× slower than {3} ({4}).", pass, name,
                                         factor_text(1 / mean), other, range)
                                   : say("{0}: {1} was {2}× faster than {3} ({4}).", pass, name,
                                         factor_text(mean), other, range)});
    }
  }
  return reading;
}

}  // namespace

Section bench_section(const std::vector<ResultsFile>& files, const Words& say, Palette& palette) {
  const std::vector<Group> groups = groups_of(files, say);
  if (groups.empty()) return {};
  Section section{.title = say("Benchmarks"),
                  .about = say("Each time is a median; several problems are put together by the "
                               "geometric mean of their ratios."),
                  .reading = bench_reading(groups, say)};
  Markup charts, tables;
  for (const Group& group : groups) {
    charts += bench_chart(group, say, palette);
    tables += bench_table(group, say);
  }
  section.body =
      element("div", {{"class", "charts"}}, charts) +
      element("details", element("summary", say("All figures of the benchmarks")) + tables);
  return section;
}

}  // namespace strobe
