#include "strobe/report/comparison_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "strobe/core/progress.h"
#include "strobe/report/table.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Column {
  const TrainingRun& run;
  RunSummary summary;
};

using CellText = std::function<std::string(const Column&)>;

void add_row(Table& table, const std::vector<Column>& columns, const std::string& name,
             const CellText& text) {
  std::vector<std::string> cells = {name};
  for (const Column& column : columns) cells.push_back(text(column));
  table.add(std::move(cells));
}

void add_times(Table& table, const std::vector<Column>& columns) {
  add_row(table, columns, "step time, median",
          [](const Column& c) { return milliseconds_text(c.summary.step_ms_median); });
  add_row(table, columns, "step time, mean",
          [](const Column& c) { return milliseconds_text(c.summary.step_ms_mean); });
  add_row(table, columns, "steps/s",
          [](const Column& c) { return fmt::format("{:.2f}", c.summary.steps_per_s); });
  add_row(table, columns, "tokens/s",
          [](const Column& c) { return short_number(c.summary.tokens_per_s); });
  add_row(table, columns, "attention, mean time in a step",
          [](const Column& c) { return milliseconds_text(c.summary.attention_ms_mean); });
  add_row(table, columns, "attention, share of the time",
          [](const Column& c) { return percent_text(c.summary.attention_share); });
}

// A run that did not end reported no memory.
std::string memory_text(const Column& column, double bytes) {
  return column.run.peak_total_bytes > 0 ? bytes_text(bytes) : "–";
}

void add_memory(Table& table, const std::vector<Column>& columns) {
  add_row(table, columns, "peak memory",
          [](const Column& c) { return memory_text(c, c.run.peak_total_bytes); });
  const auto& first = columns[0].run.at_peak_bytes;
  std::vector<std::pair<std::string, double>> categories(first.begin(), first.end());
  std::sort(categories.begin(), categories.end(),
            [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [category, bytes] : categories) {
    if (!(bytes > 0)) continue;
    add_row(table, columns, "  of it " + category, [&category = category](const Column& c) {
      const auto found = c.run.at_peak_bytes.find(category);
      return memory_text(c, found == c.run.at_peak_bytes.end() ? 0 : found->second);
    });
  }
  add_row(table, columns, "peak memory of the process (RSS)",
          [](const Column& c) { return memory_text(c, c.run.peak_rss_bytes); });
}

std::string gains_table(const std::vector<Column>& columns) {
  std::vector<std::string> head = {"against " + columns[0].run.attention};
  std::vector<Gains> gains;
  for (size_t i = 1; i < columns.size(); ++i) {
    head.push_back(columns[i].run.attention);
    gains.push_back(compare_runs(columns[0].run, columns[i].run));
  }
  Table table(std::move(head));
  const auto add = [&](const std::string& name, const std::function<std::string(const Gains&)>& f) {
    std::vector<std::string> cells = {name};
    for (const Gains& g : gains) cells.push_back(f(g));
    table.add(std::move(cells));
  };
  add("speed-up of a step", [](const Gains& g) { return fmt::format("{:.2f}×", g.speedup); });
  add("speed-up of attention",
      [](const Gains& g) { return fmt::format("{:.2f}×", g.attention_speedup); });
  add("memory saved", [](const Gains& g) { return percent_text(g.memory_saved); });
  add("attention's memory saved",
      [](const Gains& g) { return percent_text(g.attention_memory_saved); });
  add("largest loss difference", [](const Gains& g) { return small_text(g.loss_difference); });
  add("  relative", [](const Gains& g) { return small_text(g.loss_difference_relative); });
  add("  relative, first step",
      [](const Gains& g) { return small_text(g.first_loss_difference_relative); });
  return table.text();
}

}  // namespace

std::string comparison_table(const std::vector<TrainingRun>& runs) {
  std::vector<Column> columns;
  for (const TrainingRun& run : runs) {
    if (run.has_steps()) columns.push_back({run, summarize(run)});
  }
  if (columns.empty()) return "no run finished a step\n";

  std::vector<std::string> head = {
      fmt::format("{} steps, times without the first", columns[0].summary.steps)};
  for (const Column& column : columns) head.push_back(column.run.attention);
  Table table(std::move(head));
  add_row(table, columns, "implementation", [](const Column& c) {
    return c.run.implementation.empty() ? "–" : c.run.implementation;
  });
  add_times(table, columns);
  table.add_rule();
  add_memory(table, columns);
  table.add_rule();
  add_row(table, columns, "loss, mean",
          [](const Column& c) { return fmt::format("{:.6f}", c.summary.loss_mean); });
  add_row(table, columns, "loss, last step",
          [](const Column& c) { return fmt::format("{:.6f}", c.summary.loss_final); });
  if (columns.size() == 1) return table.text();
  return fmt::format("{}\n{}", table.text(), gains_table(columns));
}

}  // namespace strobe
