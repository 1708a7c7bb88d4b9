// The section of benchmark rows: those of all files together, so that peers stand beside Strobe.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/progress.h"
#include "strobe/report/html_bench_groups.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

std::string row_name(const BenchProblem& problem, const BenchTiming& timing) {
  if (problem.length == 0) return timing.impl;
  return fmt::format("B={} T={}  {}", problem.batch, problem.length, timing.impl);
}

// A figure of each timing of a group, as bars; those without it are left out.
Markup bars(const BenchGroup& group, const std::string& title, const char* field,
            std::string (*text)(double), Palette& palette) {
  BarChart chart{.title = title};
  for (const auto& [problem, timings] : group) {
    for (const BenchTiming& timing : timings) {
      const double value = number_or_nan(*timing.row, field);
      if (!std::isfinite(value)) continue;
      chart.bars.push_back({.name = row_name(problem, timing),
                            .colour = palette.colour_of(timing.impl),
                            .value = value,
                            .part = value,
                            .value_text = text(value)});
      chart.description += chart.bars.back().name + ": " + chart.bars.back().value_text + ". ";
    }
  }
  return chart.bars.empty() ? Markup() : figure(chart);
}

// Of training steps: what one takes in time and in memory.
Markup training_charts(const BenchGroup& group, const Words& say, Palette& palette) {
  const std::string& title = group[0].first.title;
  return bars(group, title, "ms_median", milliseconds_text, palette) +
         bars(group, title + " · " + say("peak memory"), "peak_total_bytes", bytes_text, palette);
}

// Speeds of a GPU are thousands of a CPU's.
struct SpeedUnit {
  double gflops;
  std::string name;
};
SpeedUnit speed_unit(const BenchGroup& group) {
  return is_gpu_row(*group[0].second[0].row) ? SpeedUnit{1000, "TFLOP/s"} : SpeedUnit{1, "GFLOP/s"};
}

Markup bench_chart(const BenchGroup& group, const Words& say, Palette& palette) {
  const Json& any = *group[0].second[0].row;
  if (text_or_empty(any, "op") == "train") return training_charts(group, say, palette);
  const SpeedUnit unit = speed_unit(group);
  LineChart chart{.title = group[0].first.title,
                  .x_title = say("length T"),
                  .y_title = say("{0}, more is faster", unit.name),
                  .is_log_x = true,
                  .is_from_zero = true,
                  .has_all_x = true};
  std::vector<Series>& series = chart.series;
  Series matmul{is_gpu_row(any) ? say("matrix product (cuBLASLt)") : say("matrix product (oneDNN)"),
                kChartColours - 1,
                {},
                Series::Look::dashed};
  for (const auto& [problem, timings] : group) {
    for (const BenchTiming& timing : timings) {
      const double gflops = number_or_nan(*timing.row, "gflops");
      if (!std::isfinite(gflops)) continue;
      auto found = std::ranges::find(series, timing.impl, &Series::name);
      if (found == series.end()) {
        series.push_back({timing.impl, palette.colour_of(timing.impl), {}});
        found = series.end() - 1;
      }
      // Several batches of one length: the curve keeps the first.
      if (found->points.empty() || found->points.back().x < problem.length) {
        found->points.push_back({problem.length, gflops / unit.gflops});
      }
      const double rate = number_or_nan(*timing.row, "matmul_gflops");
      const bool is_ours = !timing.row->contains("peer");
      if (is_ours && std::isfinite(rate) &&
          (matmul.points.empty() || matmul.points.back().x < problem.length)) {
        matmul.points.push_back({problem.length, rate / unit.gflops});
      }
    }
  }
  for (const Series& s : series) {
    double best = 0;
    for (const ChartPoint& p : s.points) best = std::max(best, p.y);
    chart.description +=
        say("{0}: up to {1} {2}. ", s.name, fmt::format("{:.0f}", best), unit.name);
  }
  // Of what has no arithmetic to count: the times.
  if (series.empty()) return bars(group, chart.title, "ms_median", milliseconds_text, palette);
  if (!matmul.points.empty()) series.push_back(std::move(matmul));
  return figure(chart);
}

struct BenchColumn {
  std::string name;
  std::vector<const char*> fields;  // added up, or with `is_range` from the first to the last
  std::string (*text)(double);
  bool is_range = false;
  double unit = 1;

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
    return data(sum, text(sum / unit));
  }
};

std::string whole_text(double value) { return fmt::format("{:.0f}", value); }

// Columns that no row of the group fills are left out.
std::vector<BenchColumn> columns_of(const BenchGroup& group, const Words& say) {
  const SpeedUnit speed = speed_unit(group);
  std::vector<BenchColumn> columns = {
      {say("median"), {"ms_median"}, milliseconds_text},
      {say("10th to 90th percentile"), {"ms_p10", "ms_p90"}, milliseconds_text, true},
      {speed.name, {"gflops"}, whole_text, false, speed.gflops},
      {say("of matrix product"), {"ratio"}, percent_text},
      {say("tokens per second"), {"tokens_per_s"}, short_number},
      {"MB/s", {"mb_per_s"}, factor_text},
      {say("memory"), {"saved_bytes", "workspace_bytes"}, bytes_text},
      {say("peak memory"), {"peak_total_bytes"}, bytes_text},
      {say("error"), {"max_err"}, power_text},
      {say("error, root mean square"), {"rms_err"}, power_text}};
  std::erase_if(columns, [&](const BenchColumn& column) {
    return std::ranges::none_of(group, [&](const auto& problem) {
      return std::ranges::any_of(problem.second,
                                 [&](const BenchTiming& t) { return column.is_in(*t.row); });
    });
  });
  return columns;
}

Markup bench_table(const BenchGroup& group, const Words& say) {
  const std::vector<BenchColumn> columns = columns_of(group, say);
  std::vector<std::string> head = {say("implementation")};
  for (const BenchColumn& column : columns) head.push_back(column.name);
  HtmlTable table(group[0].first.title, head);
  for (const auto& [problem, timings] : group) {
    table.add_rule();
    for (const BenchTiming& timing : timings) {
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
std::string protagonist(const std::vector<const BenchGroup*>& groups) {
  std::string first;
  for (const BenchGroup* group : groups) {
    for (const auto& [problem, timings] : *group) {
      for (const BenchTiming& timing : timings) {
        if (timing.row->contains("peer")) continue;
        if (timing.impl.find("flash") != std::string::npos) return timing.impl;
        if (first.empty()) first = timing.impl;
      }
    }
  }
  return first;
}

std::map<std::string, Race> races_of(const std::vector<const BenchGroup*>& groups,
                                     const std::string& name) {
  std::map<std::string, Race> races;
  for (const BenchGroup* group : groups) {
    for (const auto& [problem, timings] : *group) {
      const auto mine = std::ranges::find(timings, name, &BenchTiming::impl);
      if (mine == timings.end()) continue;
      for (const BenchTiming& timing : timings) {
        if (timing.impl != name) races[timing.impl].speedups.push_back(timing.ms / mine->ms);
      }
    }
  }
  return races;
}

std::vector<Sentence> bench_reading(const std::vector<BenchGroup>& groups, const Words& say) {
  std::vector<std::string> order;  // of operations and their passes
  std::map<std::string, std::vector<const BenchGroup*>> passes;
  for (const BenchGroup& group : groups) {
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
  const std::vector<BenchGroup> groups = bench_groups(files, say);
  if (groups.empty()) return {};
  Section section{.title = say("Benchmarks"),
                  .about = say("Each time is a median; several problems are put together by the "
                               "geometric mean of their ratios."),
                  .reading = bench_reading(groups, say)};
  Markup charts, tables;
  for (const BenchGroup& group : groups) {
    charts += bench_chart(group, say, palette);
    tables += bench_table(group, say);
  }
  section.body =
      element("div", {{"class", "charts"}}, charts) +
      element("details", element("summary", say("All figures of the benchmarks")) + tables);
  return section;
}

}  // namespace strobe
