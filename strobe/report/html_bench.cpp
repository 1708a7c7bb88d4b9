// The section of benchmark rows: those of all files together, so that peers stand beside Strobe.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

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
  double batch = 0, length = 0;  // 0: it has none
  bool operator<(const Problem& other) const {
    return std::tie(title, length, batch) < std::tie(other.title, other.length, other.batch);
  }
};

// Sizes that a row does not have are 0: they are compared, which NaN cannot be.
double number_or_zero(const Json& row, const char* field) {
  const double value = number_or_nan(row, field);
  return std::isfinite(value) ? value : 0;
}

// Which fields of the machine tell rows apart. A peer's row may leave them out.
struct Machines {
  std::set<std::string> cpus, threads;

  explicit Machines(const std::vector<ResultsFile>& files) {
    for (const ResultsFile& file : files) {
      for (const Json& row : file.benches) {
        cpus.insert(text_or_empty(row, "cpu"));
        threads.insert(text_or_empty(row, "threads"));
      }
    }
    cpus.erase("");
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
  if (machines.cpus.size() > 1) add(text_or_empty(row, "cpu"));
  const std::string threads = text_or_empty(row, "threads");
  if (machines.threads.size() > 1 && !threads.empty()) {
    add(threads == "1" ? say("one thread") : say("{0} threads", threads));
  }
  return title;
}

using Timings = std::map<Problem, std::vector<Timing>>;

// The timings of one title, by problem.
using Group = std::vector<std::pair<Problem, std::vector<Timing>>>;

std::vector<Group> groups_of(const std::vector<ResultsFile>& files, const Words& say) {
  const Machines machines(files);
  std::vector<std::string> order;  // titles as they come
  std::map<std::string, Timings> by_title;
  for (const ResultsFile& file : files) {
    for (const Json& row : file.benches) {
      const double ms = number_or_nan(row, "ms_median");
      if (!(ms > 0)) continue;
      const Problem problem{title_of(row, machines, say), number_or_zero(row, "batch"),
                            number_or_zero(row, "seq_q")};
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

// Of what has no arithmetic to count: the times.
Markup time_bars(const Group& group, Palette& palette) {
  BarChart chart{.title = group[0].first.title};
  for (const auto& [problem, timings] : group) {
    for (const Timing& timing : timings) {
      chart.bars.push_back({.name = timing.impl,
                            .colour = palette.colour_of(timing.impl),
                            .value = timing.ms,
                            .part = timing.ms,
                            .value_text = milliseconds_text(timing.ms)});
      chart.description += timing.impl + ": " + chart.bars.back().value_text + ". ";
    }
  }
  return figure(chart);
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
  if (series.empty()) return time_bars(group, palette);
  if (!matmul.points.empty()) series.push_back(std::move(matmul));
  return figure(chart);
}

struct BenchColumn {
  std::string name;
  std::vector<const char*> fields;  // added up, or with `is_range` from the first to the last
  std::string (*text)(double);
  bool is_range = false;

  bool is_in(const Json& row) const {
    return std::ranges::all_of(
        fields, [&](const char* field) { return std::isfinite(number_or_nan(row, field)); });
  }
  Markup cell(const Json& row) const {
    if (!is_in(row)) return Markup::literal("–");
    if (is_range) {
      const double first = number_or_nan(row, fields[0]), last = number_or_nan(row, fields[1]);
      return data(first, text(first)) + Markup::literal(" – ") + data(last, text(last));
    }
    double sum = 0;
    for (const char* field : fields) sum += number_or_nan(row, field);
    return data(sum, text(sum));
  }
};

std::string whole_text(double value) { return fmt::format("{:.0f}", value); }

// Columns that no row of the group fills are left out.
std::vector<BenchColumn> columns_of(const Group& group, const Words& say) {
  std::vector<BenchColumn> columns = {
      {say("median"), {"ms_median"}, milliseconds_text},
      {say("10th to 90th percentile"), {"ms_p10", "ms_p90"}, milliseconds_text, true},
      {"GFLOP/s", {"gflops"}, whole_text},
      {say("of matrix product"), {"ratio"}, percent_text},
      {say("tokens per second"), {"tokens_per_s"}, short_number},
      {"MB/s", {"mb_per_s"}, factor_text},
      {say("memory"), {"saved_bytes", "workspace_bytes"}, bytes_text},
      {say("peak memory"), {"peak_total_bytes"}, bytes_text},
      {say("error"), {"max_err"}, power_text}};
  std::erase_if(columns, [&](const BenchColumn& column) {
    return std::ranges::none_of(group, [&](const auto& problem) {
      return std::ranges::any_of(problem.second,
                                 [&](const Timing& t) { return column.is_in(*t.row); });
    });
  });
  return columns;
}

std::string row_name(const Problem& problem, const Timing& timing) {
  if (problem.length == 0) return timing.impl;
  return fmt::format("B={} T={}  {}", problem.batch, problem.length, timing.impl);
}

Markup bench_table(const Group& group, const Words& say) {
  const std::vector<BenchColumn> columns = columns_of(group, say);
  std::vector<std::string> head = {say("implementation")};
  for (const BenchColumn& column : columns) head.push_back(column.name);
  HtmlTable table(group[0].first.title, head);
  for (const auto& [problem, timings] : group) {
    table.add_rule();
    for (const Timing& timing : timings) {
      std::vector<Markup> cells;
      for (const BenchColumn& column : columns) cells.push_back(column.cell(*timing.row));
      table.add(row_name(problem, timing), cells);
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

// The implementation of a pass that the others are held against: flash where there is one, else
// the first of Strobe's.
std::string protagonist(const std::vector<const Group*>& groups) {
  std::string first;
  for (const Group* group : groups) {
    for (const auto& [problem, timings] : *group) {
      for (const Timing& timing : timings) {
        if (timing.row->contains("peer")) continue;
        if (timing.impl.find("flash") != std::string::npos) return timing.impl;
        if (first.empty()) first = timing.impl;
      }
    }
  }
  return first;
}

std::map<std::string, Race> races_of(const std::vector<const Group*>& groups,
                                     const std::string& name) {
  std::map<std::string, Race> races;
  for (const Group* group : groups) {
    for (const auto& [problem, timings] : *group) {
      const auto mine = std::ranges::find(timings, name, &Timing::impl);
      if (mine == timings.end()) continue;
      for (const Timing& timing : timings) {
        if (timing.impl != name) races[timing.impl].speedups.push_back(timing.ms / mine->ms);
      }
    }
  }
  return races;
}

std::vector<Sentence> bench_reading(const std::vector<Group>& groups, const Words& say) {
  std::vector<std::string> order;  // of operations and their passes
  std::map<std::string, std::vector<const Group*>> passes;
  for (const Group& group : groups) {
    const Json& any = *group[0].second[0].row;
    const std::string pass =
        say.word(text_or_empty(any, "op")) + ", " + say.word(text_or_empty(any, "pass"));
    if (!passes.contains(pass)) order.push_back(pass);
    passes[pass].push_back(&group);
  }
  std::vector<Sentence> reading;
  for (const std::string& pass : order) {
    const std::string name = protagonist(passes[pass]);
    const std::map<std::string, Race> races = races_of(passes[pass], name);
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
