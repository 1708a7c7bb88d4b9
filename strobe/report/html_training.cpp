// The section of one training, or of one comparison: figures to see first, tables, charts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "strobe/core/progress.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Column {
  const TrainingRun* run;
  RunSummary summary;
  size_t colour;
};

Markup none() { return Markup::literal("–"); }

Markup loss_cell(double loss) { return data(loss, fmt::format("{:.6f}", loss)); }
Markup time_cell(double ms) { return data(ms, milliseconds_text(ms)); }
Markup bytes_cell(double bytes) { return bytes > 0 ? data(bytes, bytes_text(bytes)) : none(); }

class TrainingTable {
 public:
  TrainingTable(const std::vector<Column>& columns, const Words& say)
      : columns_(columns), say_(say), table_(caption(columns, say), head(columns)) {}

  Markup markup() {
    add(say_("implementation"), [](const Column& c) {
      return c.run->implementation.empty() ? none() : Markup::name(c.run->implementation);
    });
    add(say_("steps"), [](const Column& c) {
      return data(static_cast<double>(c.summary.steps), fmt::format("{}", c.summary.steps));
    });
    add_times();
    add_memory();
    table_.add_rule();
    add(say_("loss, first step"), [](const Column& c) { return loss_cell(c.run->losses.front()); });
    add(say_("loss, mean"), [](const Column& c) { return loss_cell(c.summary.loss_mean); });
    add(say_("loss, last step"), [](const Column& c) { return loss_cell(c.summary.loss_final); });
    add_validation();
    return table_.markup();
  }

 private:
  using Cell = std::function<Markup(const Column&)>;

  static std::string caption(const std::vector<Column>& columns, const Words& say) {
    return columns[0].summary.steps > 1 ? say("Training, times without the first step")
                                        : say("Training");
  }
  static std::vector<std::string> head(const std::vector<Column>& columns) {
    std::vector<std::string> names = {""};
    for (const Column& column : columns) names.push_back(column.run->attention);
    return names;
  }

  void add(const std::string& name, const Cell& cell, bool is_part = false) {
    std::vector<Markup> cells;
    for (const Column& column : columns_) cells.push_back(cell(column));
    table_.add(name, cells, is_part);
  }

  void add_times() {
    table_.add_rule();
    add(say_("step time, median"),
        [](const Column& c) { return time_cell(c.summary.step_ms_median); });
    add(say_("step time, mean"), [](const Column& c) { return time_cell(c.summary.step_ms_mean); });
    add(say_("step time, 10th to 90th percentile"), [](const Column& c) {
      return time_cell(c.summary.step_ms_p10) + Markup::literal(" – ") +
             time_cell(c.summary.step_ms_p90);
    });
    add(say_("tokens per second"), [](const Column& c) {
      return data(c.summary.tokens_per_s, short_number(c.summary.tokens_per_s));
    });
    add(say_("attention in a step"),
        [](const Column& c) { return time_cell(c.summary.attention_ms_mean); });
    add(say_("attention, share of the time"), [](const Column& c) {
      return data(c.summary.attention_share, percent_text(c.summary.attention_share));
    });
  }

  // Categories of the first run, the largest first, as in the table on the terminal.
  void add_memory() {
    table_.add_rule();
    add(say_("peak memory"), [](const Column& c) { return bytes_cell(c.run->peak_total_bytes); });
    const auto& first = columns_[0].run->at_peak_bytes;
    std::vector<std::pair<std::string, double>> categories(first.begin(), first.end());
    std::ranges::sort(categories, std::greater<>(), [](const auto& c) { return c.second; });
    for (const auto& category : categories) {
      const std::string& name = category.first;
      add(
          say_.word(name),
          [&](const Column& c) {
            const auto found = c.run->at_peak_bytes.find(name);
            return found == c.run->at_peak_bytes.end()
                       ? none()
                       : data(found->second, bytes_text(found->second));
          },
          /*is_part=*/true);
    }
    add(say_("peak memory of the process"),
        [](const Column& c) { return bytes_cell(c.run->peak_rss_bytes); });
  }

  void add_validation() {
    if (std::ranges::all_of(columns_, [](const auto& c) { return c.run->validations.empty(); })) {
      return;
    }
    add(say_("validation loss, last"), [](const Column& c) {
      return c.run->validations.empty() ? none() : loss_cell(c.run->validations.back().second);
    });
  }

  const std::vector<Column>& columns_;
  const Words& say_;
  HtmlTable table_;
};

Markup gains_table(const std::vector<Column>& columns, const Words& say) {
  std::vector<std::string> head = {""};
  std::vector<Gains> gains;
  for (size_t i = 1; i < columns.size(); ++i) {
    head.push_back(columns[i].run->attention);
    gains.push_back(compare_runs(*columns[0].run, *columns[i].run));
  }
  HtmlTable table(say("Against {0}", columns[0].run->attention), head);
  const auto add = [&](const std::string& name, double Gains::*value, std::string (*text)(double)) {
    std::vector<Markup> cells;
    for (const Gains& g : gains) {
      cells.push_back(std::isfinite(g.*value) ? data(g.*value, text(g.*value)) : none());
    }
    table.add(name, cells);
  };
  const auto times = [](double x) { return factor_text(x) + "×"; };
  add(say("speed-up of a step"), &Gains::speedup, times);
  add(say("speed-up of attention"), &Gains::attention_speedup, times);
  add(say("memory saved"), &Gains::memory_saved, percent_text);
  add(say("attention's memory saved"), &Gains::attention_memory_saved, percent_text);
  add(say("largest loss difference"), &Gains::loss_difference, power_text);
  add(say("as a share of the loss"), &Gains::loss_difference_relative, power_text);
  add(say("as a share, first step"), &Gains::first_loss_difference_relative, power_text);
  return table.markup();
}

std::vector<ChartPoint> curve(const std::vector<double>& x, const std::vector<double>& y) {
  std::vector<ChartPoint> points;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) points.push_back({x[i], y[i]});
  return points;
}

Markup loss_chart(const std::vector<Column>& columns, const Words& say) {
  LineChart chart{
      .title = say("Loss"),
      .note = columns.size() > 1 ? say("Where the curves coincide, both compute the same.") : "",
      .x_title = say("step"),
      .y_title = say("training loss")};
  for (const Column& c : columns) {
    const bool is_first = &c == &columns[0] && columns.size() > 1;
    chart.series.push_back({c.run->attention, c.colour, curve(c.run->steps, c.run->losses),
                            is_first ? Series::Look::backdrop : Series::Look::line});
    chart.description += say("{0}: from {1} to {2}. ", c.run->attention,
                             fmt::format("{:.3f}", c.run->losses.front()),
                             fmt::format("{:.3f}", c.run->losses.back()));
  }
  for (const Column& c : columns) {
    if (c.run->validations.empty()) continue;
    Series series{say("{0}, validation", c.run->attention), c.colour, {}, Series::Look::dashed};
    for (const auto& [step, loss] : c.run->validations) series.points.push_back({step, loss});
    chart.series.push_back(std::move(series));
  }
  return figure(chart);
}

Markup difference_chart(const std::vector<Column>& columns, const Words& say) {
  const TrainingRun& baseline = *columns[0].run;
  LineChart chart{.title = say("How far the losses are apart"),
                  .note = say("Steps without a difference are left out."),
                  .x_title = say("step"),
                  .y_title = say("difference from {0}", baseline.attention),
                  .is_log_y = true,
                  .y_text = power_text};
  for (size_t i = 1; i < columns.size(); ++i) {
    const TrainingRun& run = *columns[i].run;
    Series series{run.attention, columns[i].colour, {}};
    double largest = 0;
    for (size_t s = 0; s < std::min(run.losses.size(), baseline.losses.size()); ++s) {
      const double difference = std::abs(run.losses[s] - baseline.losses[s]);
      if (difference > 0) series.points.push_back({run.steps[s], difference});
      largest = std::max(largest, difference);
    }
    chart.series.push_back(std::move(series));
    chart.description += say("{0}: at most {1}. ", run.attention, power_text(largest));
  }
  return figure(chart);
}

Markup time_chart(const std::vector<Column>& columns, const Words& say) {
  BarChart chart{.title = say("Step time"), .note = say("The median; attention in full colour.")};
  for (const Column& c : columns) {
    const RunSummary& s = c.summary;
    const double part = s.step_ms_median * s.attention_share;
    chart.bars.push_back({.name = c.run->attention,
                          .colour = c.colour,
                          .value = s.step_ms_median,
                          .part = part,
                          .value_text = milliseconds_text(s.step_ms_median),
                          .part_text = say("attention {0}", percent_text(s.attention_share))});
    chart.description += fmt::format("{}: {}. ", c.run->attention, chart.bars.back().value_text);
  }
  return figure(chart);
}

// Empty if no run recorded its memory.
Markup memory_chart(const std::vector<Column>& columns, const Words& say) {
  BarChart chart{.title = say("Peak memory"), .note = say("Attention in full colour.")};
  for (const Column& c : columns) {
    if (!(c.run->peak_total_bytes > 0)) continue;
    const auto attention = c.run->at_peak_bytes.find("attention");
    const double part = attention == c.run->at_peak_bytes.end() ? 0 : attention->second;
    chart.bars.push_back({.name = c.run->attention,
                          .colour = c.colour,
                          .value = c.run->peak_total_bytes,
                          .part = part,
                          .value_text = bytes_text(c.run->peak_total_bytes),
                          .part_text = say("attention {0}", bytes_text(part))});
    chart.description += fmt::format("{}: {}. ", c.run->attention, chart.bars.back().value_text);
  }
  return chart.bars.empty() ? Markup() : figure(chart);
}

Markup step_chart(const Column& c, const Words& say) {
  return figure(
      LineChart{.title = say("Time of each step"),
                .x_title = say("step"),
                .y_title = say("milliseconds"),
                .description = say("Median {0}. ", milliseconds_text(c.summary.step_ms_median)),
                .series = {{c.run->attention, c.colour, curve(c.run->steps, c.run->step_ms)}},
                .is_from_zero = true});
}

}  // namespace

Section training_section(const ResultsFile& file, const Words& say, Palette& palette) {
  if (file.runs.empty()) return {};
  std::vector<Column> columns;
  for (const TrainingRun& run : file.runs) {
    if (run.has_steps()) {
      columns.push_back({&run, summarize(run), palette.colour_of(run.attention)});
    }
  }
  const bool is_other = !file.generations.empty() || !file.sweeps.empty() || !file.masks.empty();
  if (columns.empty() && is_other) return {};
  Section section{.title = file.runs.size() > 1 ? say("Training, side by side") : say("Training"),
                  .about = setting_of(file, say),
                  .tiles = training_tiles(file, say),
                  .reading = training_reading(file, say)};
  if (columns.empty()) return section;
  Markup charts = loss_chart(columns, say);
  charts += columns.size() > 1 ? difference_chart(columns, say) : step_chart(columns[0], say);
  charts += time_chart(columns, say) + memory_chart(columns, say);
  section.body =
      element("div", {{"class", "charts"}}, charts) + TrainingTable(columns, say).markup();
  if (columns.size() > 1) section.body += gains_table(columns, say);
  return section;
}

}  // namespace strobe
