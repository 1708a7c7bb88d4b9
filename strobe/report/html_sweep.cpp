// The section of a sweep: time and memory against a size, for each attention.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// A training's times are those of a step and of attention in it; a generation's of a token and of
// the prefill. NaN: not on record.
struct SweepPoint {
  double size = 0;
  double time_ms = 0, other_ms = 0, peak_bytes = 0, attention_bytes = 0;
  std::string ending, reason;

  bool is_finished() const { return ending == "finished"; }
};

// One attention's way through the sizes, ascending.
struct SweepCurve {
  std::string attention;
  std::vector<SweepPoint> points;

  std::vector<SweepPoint> finished() const {
    std::vector<SweepPoint> all;
    std::ranges::copy_if(points, std::back_inserter(all), &SweepPoint::is_finished);
    return all;
  }
};

struct Sweep {
  std::string parameter;
  bool is_generation = false;
  std::vector<SweepCurve> curves;
};

std::vector<Sweep> sweeps_of(const JsonRows& rows) {
  std::vector<Sweep> sweeps;
  const auto find_or_add = [](auto& all, const std::string& name, auto member) -> auto& {
    const auto found = std::ranges::find(all, name, member);
    if (found != all.end()) return *found;
    all.emplace_back();
    all.back().*member = name;
    return all.back();
  };
  for (const Json& row : rows) {
    if (!std::isfinite(number_or_nan(row, "value"))) continue;
    Sweep& sweep = find_or_add(sweeps, text_or_empty(row, "parameter"), &Sweep::parameter);
    SweepCurve& curve =
        find_or_add(sweep.curves, text_or_empty(row, "attention"), &SweepCurve::attention);
    sweep.is_generation = text_or_empty(row, "task") == "generate";
    std::string ending = text_or_empty(row, "ending");
    std::ranges::replace(ending, '_', ' ');
    const bool is_generation = sweep.is_generation;
    curve.points.push_back(
        {.size = number_or_nan(row, "value"),
         .time_ms = number_or_nan(row, is_generation ? "token_ms" : "step_ms_median"),
         .other_ms = number_or_nan(row, is_generation ? "prefill_ms" : "attention_ms_mean"),
         .peak_bytes = number_or_nan(row, "peak_total_bytes"),
         .attention_bytes = number_or_nan(row, "attention_bytes"),
         .ending = ending.empty() ? "finished" : ending,
         .reason = text_or_empty(row, "reason")});
  }
  for (Sweep& sweep : sweeps) {
    for (SweepCurve& curve : sweep.curves) {
      std::ranges::stable_sort(curve.points, {}, &SweepPoint::size);
    }
  }
  return sweeps;
}

std::string size_text(const Sweep& sweep, double size) {
  return fmt::format("{} = {}", sweep.parameter, size);
}

Markup sweep_chart(const Sweep& sweep, const std::string& title, const std::string& y_title,
                   double SweepPoint::*value, std::string (*y_text)(double), const Words& say,
                   Palette& palette) {
  LineChart chart{.title = title,
                  .note = say("Both axes are logarithmic: a straight line is a power of the size."),
                  .x_title = say.word(sweep.parameter),
                  .y_title = y_title,
                  .is_log_x = true,
                  .is_log_y = true,
                  .has_all_x = true,
                  .y_text = y_text};
  for (const SweepCurve& curve : sweep.curves) {
    Series series{curve.attention, palette.colour_of(curve.attention), {}};
    for (const SweepPoint& point : curve.points) {
      if (point.is_finished()) {
        series.points.push_back({point.size, point.*value});
      } else if (point.ending == "out of memory") {
        chart.marks.push_back(
            {point.size, series.colour, say("{0}: out of memory", curve.attention)});
      }
    }
    if (!series.points.empty()) {
      chart.description += say("{0}: from {1} to {2}. ", curve.attention,
                               y_text(series.points.front().y), y_text(series.points.back().y));
    }
    chart.series.push_back(std::move(series));
  }
  return figure(chart);
}

Markup sweep_cell(const SweepPoint& point, double SweepPoint::*value, std::string (*text)(double),
                  const Words& say) {
  if (point.is_finished() && std::isfinite(point.*value))
    return data(point.*value, text(point.*value));
  if (point.ending == "out of memory") return Markup::text(say("out of memory"));
  return Markup::text(point.is_finished() ? "–" : say.word(point.ending));
}

Markup sweep_table(const Sweep& sweep, const Words& say) {
  HtmlTable table(
      say("By {0}", say.word(sweep.parameter)),
      {say("size and attention"), sweep.is_generation ? say("per token") : say("step time, median"),
       sweep.is_generation ? say("prefill") : say("attention in a step"), say("peak memory"),
       say("memory of attention")});
  for (size_t i = 0; i < sweep.curves[0].points.size(); ++i) {
    table.add_rule();
    const double size = sweep.curves[0].points[i].size;
    for (const SweepCurve& curve : sweep.curves) {
      for (const SweepPoint& point : curve.points) {
        if (point.size != size) continue;
        table.add(size_text(sweep, size) + ", " + curve.attention,
                  {sweep_cell(point, &SweepPoint::time_ms, milliseconds_text, say),
                   sweep_cell(point, &SweepPoint::other_ms, milliseconds_text, say),
                   sweep_cell(point, &SweepPoint::peak_bytes, bytes_text, say),
                   sweep_cell(point, &SweepPoint::attention_bytes, bytes_text, say)});
      }
    }
  }
  return table.markup();
}

// What the last step of the sizes cost: a quadratic curve's memory grows fourfold when the size
// doubles.
void add_growth(std::vector<Sentence>& reading, const Sweep& sweep, const Words& say) {
  for (const SweepCurve& curve : sweep.curves) {
    const std::vector<SweepPoint> done = curve.finished();
    if (done.size() < 2) continue;
    const SweepPoint &a = done[done.size() - 2], &b = done.back();
    const bool has_attention = a.attention_bytes > 0 && b.attention_bytes > 0;
    const double memory =
        has_attention ? b.attention_bytes / a.attention_bytes : b.peak_bytes / a.peak_bytes;
    const double time = b.time_ms / a.time_ms;
    if (!std::isfinite(memory) || !std::isfinite(time)) continue;
    const std::string from = size_text(sweep, a.size), to = size_text(sweep, b.size);
    const std::string times = factor_text(time), bytes = factor_text(memory);
    const std::string what = sweep.is_generation ? say("a token took {0}× the time", times)
                                                 : say("a step took {0}× the time", times);
    reading.push_back({has_attention
                           ? say("{0}: from {1} to {2} {3}, and attention {4}× the memory.",
                                 curve.attention, from, to, what, bytes)
                           : say("{0}: from {1} to {2} {3}, and {4}× the memory.", curve.attention,
                                 from, to, what, bytes)});
  }
}

// At the largest size that both finished.
void add_races(std::vector<Sentence>& reading, const Sweep& sweep, const Words& say) {
  const SweepCurve& baseline = sweep.curves[0];
  const std::vector<SweepPoint> theirs = baseline.finished();
  for (size_t i = 1; i < sweep.curves.size(); ++i) {
    const std::vector<SweepPoint> mine = sweep.curves[i].finished();
    const auto both = std::find_if(mine.rbegin(), mine.rend(), [&](const SweepPoint& point) {
      return std::ranges::find(theirs, point.size, &SweepPoint::size) != theirs.end();
    });
    if (both == mine.rend()) continue;
    const SweepPoint& other = *std::ranges::find(theirs, both->size, &SweepPoint::size);
    const double speedup = other.time_ms / both->time_ms;
    const double saved = 1 - both->peak_bytes / other.peak_bytes;
    if (!std::isfinite(speedup) || !std::isfinite(saved)) continue;
    const std::string size = size_text(sweep, both->size);
    const std::string memory = saved >= 0 ? say("{0} less memory", percent_text(saved))
                                          : say("{0} more memory", percent_text(-saved));
    reading.push_back({speedup >= 1 ? say("At {0}, {1} was {2}× faster than {3} and needed {4}.",
                                          size, sweep.curves[i].attention, factor_text(speedup),
                                          baseline.attention, memory)
                                    : say("At {0}, {1} was {2}× slower than {3} and needed {4}.",
                                          size, sweep.curves[i].attention, factor_text(1 / speedup),
                                          baseline.attention, memory)});
  }
}

std::vector<Sentence> sweep_reading(const Sweep& sweep, const Words& say) {
  std::vector<Sentence> reading;
  add_races(reading, sweep, say);
  add_growth(reading, sweep, say);
  for (const SweepCurve& curve : sweep.curves) {
    for (const SweepPoint& point : curve.points) {
      if (point.is_finished()) continue;
      const std::string size = size_text(sweep, point.size);
      reading.push_back({point.ending == "out of memory"
                             ? say("{0} did not fit into memory at {1}.", curve.attention, size)
                             : say("{0} did not finish at {1}: {2}.", curve.attention, size,
                                   point.reason.empty() ? say.word(point.ending) : point.reason),
                         true});
    }
  }
  return reading;
}

}  // namespace

Section sweep_section(const ResultsFile& file, const Words& say, Palette& palette) {
  const std::vector<Sweep> sweeps = sweeps_of(file.sweeps);
  if (sweeps.empty()) return {};
  Section section{.title = say("Growth with the size"), .about = setting_of(file, say)};
  for (const Sweep& sweep : sweeps) {
    for (Sentence& sentence : sweep_reading(sweep, say)) section.reading.push_back(sentence);
    const auto chart = [&](const std::string& title, const std::string& y,
                           double SweepPoint::*value, std::string (*text)(double)) {
      return sweep_chart(sweep, title, y, value, text, say, palette);
    };
    const bool is_generation = sweep.is_generation;
    const std::string y = is_generation ? say("milliseconds") : say("time per step");
    section.body +=
        element("div", {{"class", "charts"}},
                chart(is_generation ? say("Time per token") : say("Step time"), y,
                      &SweepPoint::time_ms, milliseconds_text) +
                    chart(say("Peak memory"), say("memory"), &SweepPoint::peak_bytes, bytes_text) +
                    chart(is_generation ? say("Time of the prefill") : say("Time in attention"), y,
                          &SweepPoint::other_ms, milliseconds_text) +
                    chart(say("Memory of attention"), say("memory"), &SweepPoint::attention_bytes,
                          bytes_text));
    section.body += sweep_table(sweep, say);
  }
  return section;
}

}  // namespace strobe
