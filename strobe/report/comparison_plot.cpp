#include "strobe/report/comparison_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/report/gnuplot.h"
#include "strobe/report/table.h"
#include "strobe/report/training_run.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

constexpr double kBarWidth = 0.56;

// In which words, and in a font that has them.
struct Style {
  Words say;
  std::string font;
};

struct Bars {
  const TrainingRun& run;
  RunSummary summary;
};

std::string label_at(double x, double y, const std::string& text, const std::string& style) {
  return fmt::format("set label {} at first {},{:.9g} center front boxed {}\n", quoted(text), x, y,
                     style);
}

std::string rectangle(double x, double width, double from, double to, const char* colour) {
  return fmt::format(
      "set object rectangle from first {},{:.9g} to {},{:.9g} fillcolor rgb '{}' fillstyle solid "
      "noborder\n",
      x - width / 2, from, x + width / 2, to, colour);
}

// A round axis limit above every bar with room for the values on top.
double limit_above(double largest) { return largest > 0 ? largest * 1.22 : 1; }

std::string panel_begin(const Style& style, const std::string& title, const std::string& y_title) {
  return fmt::format(
      "unset label\nunset object\nunset arrow\nunset key\n"
      "set title {} font '{}:Bold,17' offset 0,0.4\nset ylabel {}\n"
      "unset xlabel\n",
      quoted(title), style.font, quoted(y_title));
}

std::string loss_panel(const std::vector<Bars>& runs, const Style& style) {
  const Words& say = style.say;
  std::string script =
      panel_begin(style, say("Loss: the curves must coincide"), say("training loss"));
  script += "set xlabel " + quoted(say("step")) +
            "\nset xtics auto font ',13.5'\nset yrange [*:*]\nset key top right\n";
  size_t steps = 0;
  for (size_t r = 0; r < runs.size(); ++r) {
    script += fmt::format("$loss{} << END\n", r);
    const auto& losses = runs[r].run.losses;
    steps = std::max(steps, losses.size());
    for (size_t i = 0; i < losses.size(); ++i)
      script += fmt::format("{} {:.9g}\n", i + 1, losses[i]);
    script += "END\n";
  }
  if (runs.size() > 1) {
    double worst = 0;
    for (size_t r = 1; r < runs.size(); ++r) {
      worst = std::max(worst, compare_runs(runs[0].run, runs[r].run).loss_difference_relative);
    }
    script += fmt::format("set label {} at graph 0.03,0.06 left textcolor rgb '#555555'\n",
                          quoted(say("largest relative difference {0}", small_text(worst))));
  }
  script += fmt::format("set xrange [{}:{}]\nplot ", steps > 1 ? 1 : 0, std::max<size_t>(steps, 2));
  // The first curve is wide and pale, the others thin and dotted on top of it: all stay visible.
  for (size_t r = 0; r < runs.size(); ++r) {
    script += fmt::format(
        "{}$loss{} using 1:2 with {} linecolor rgb '{}' title {}", r > 0 ? ", " : "", r,
        r == 0 ? "lines linewidth 9" : "linespoints linewidth 2.5 pointtype 7 pointsize 0.7",
        r == 0 ? colour_of(r).light : colour_of(r).strong, quoted(runs[r].run.attention));
  }
  return script + "\n";
}

// The largest font in which the longest line of the names fits under its bar.
double font_for(const std::vector<std::string>& names) {
  constexpr double kPanelPixels = 650, kLargest = 13.5, kSmallest = 7, kPixelsPerPoint = 0.75;
  size_t longest = 1;
  for (const std::string& name : names) {
    for (const std::string& line :
         {name.substr(0, name.find('\n')), name.substr(name.find('\n') + 1)}) {
      longest = std::max(longest, display_width(line));
    }
  }
  const double room = kPanelPixels / (static_cast<double>(names.size()) + 0.4);
  return std::clamp(room / (kPixelsPerPoint * static_cast<double>(longest)), kSmallest, kLargest);
}

std::string bar_axes(const std::vector<Bars>& runs, double largest,
                     const std::vector<std::string>& names) {
  std::string tics;
  for (size_t r = 0; r < runs.size(); ++r) {
    tics += fmt::format("{}{} {}", r > 0 ? ", " : "", quoted(names[r], /*is_format=*/true), r);
  }
  return fmt::format("set xtics ({}) font ',{:.1f}'\nset xrange [-0.7:{}]\nset yrange [0:{:.9g}]\n",
                     tics, font_for(names), static_cast<double>(runs.size()) - 0.3,
                     limit_above(largest));
}

// Bars of two parts: attention's strong, the rest light; the total on top, attention's share of
// it below the axis, where it never collides with anything.
std::string stacked_panel(const std::vector<Bars>& runs, const Words& say, const std::string& head,
                          const std::vector<double>& totals, const std::vector<double>& parts,
                          const std::vector<std::string>& total_texts,
                          const std::vector<std::string>& part_texts) {
  std::vector<std::string> names;
  for (size_t r = 0; r < runs.size(); ++r) {
    names.push_back(runs[r].run.attention + "\n" + say("attention {0}", part_texts[r]));
  }
  const double largest = *std::max_element(totals.begin(), totals.end());
  std::string script = head + bar_axes(runs, largest, names);
  for (size_t r = 0; r < runs.size(); ++r) {
    const auto x = static_cast<double>(r);
    script += rectangle(x, kBarWidth, 0, parts[r], colour_of(r).strong);
    script += rectangle(x, kBarWidth, parts[r], totals[r], colour_of(r).light);
    script += label_at(x, totals[r], total_texts[r], "offset 0,0.9 font ',17'");
  }
  return script;
}

std::string time_panel(const std::vector<Bars>& runs, const Style& style) {
  std::vector<double> totals, parts;
  std::vector<std::string> total_texts, part_texts;
  for (const Bars& bars : runs) {
    const RunSummary& s = bars.summary;
    totals.push_back(s.step_ms_median);
    parts.push_back(s.step_ms_median * s.attention_share);
    total_texts.push_back(milliseconds_text(s.step_ms_median));
    part_texts.push_back(percent_text(s.attention_share));
  }
  return stacked_panel(runs, style.say,
                       panel_begin(style, style.say("Median step time (dark: attention)"),
                                   style.say("ms per step")),
                       totals, parts, total_texts, part_texts) +
         "plot NaN notitle\n";
}

std::string memory_panel(const std::vector<Bars>& runs, const Style& style) {
  std::vector<double> totals, parts;
  std::vector<std::string> total_texts, part_texts;
  for (const Bars& bars : runs) {
    const auto attention = bars.run.at_peak_bytes.find("attention");
    const double part = attention == bars.run.at_peak_bytes.end() ? 0 : attention->second;
    totals.push_back(bars.run.peak_total_bytes / 1e6);
    parts.push_back(part / 1e6);
    total_texts.push_back(bytes_text(bars.run.peak_total_bytes));
    part_texts.push_back(bytes_text(part));
  }
  return stacked_panel(runs, style.say,
                       panel_begin(style, style.say("Peak memory (dark: attention)"), "MB"), totals,
                       parts, total_texts, part_texts) +
         "plot NaN notitle\n";
}

std::string speedup_text(double speedup, const Words& say) {
  return speedup >= 1 ? say("{0}× faster", fmt::format("{:.2f}", speedup))
                      : say("{0}× slower", fmt::format("{:.2f}", 1 / speedup));
}

std::string gains_panel(const std::vector<Bars>& runs, const Style& style) {
  constexpr int kGroups = 4;
  const Words& say = style.say;
  const std::string& baseline = runs[0].run.attention;
  std::string script =
      panel_begin(style,
                  runs.size() == 2 ? say("Gains of {0} over {1}", runs[1].run.attention, baseline)
                                   : say("Gains over {0}", baseline),
                  say("% saved"));
  const size_t others = runs.size() - 1;
  const double width = 0.72 / static_cast<double>(std::max<size_t>(others, 1));
  double lowest = 0;
  for (size_t r = 1; r < runs.size(); ++r) {
    const Gains g = compare_runs(runs[0].run, runs[r].run);
    const double saved[kGroups] = {g.step_time_saved, g.attention_time_saved, g.memory_saved,
                                   g.attention_memory_saved};
    const double speedups[kGroups] = {g.speedup, g.attention_speedup, 0, 0};
    for (int i = 0; i < kGroups; ++i) {
      if (!std::isfinite(saved[i])) continue;
      const double percent = 100 * saved[i];
      const double x = i - 0.36 + width * (static_cast<double>(r) - 0.5);
      lowest = std::min(lowest, percent);
      script += rectangle(x, width * 0.9, std::min(percent, 0.0), std::max(percent, 0.0),
                          colour_of(r).strong);
      const std::string text =
          fmt::format("{:.{}f}%", percent, others == 1 && percent > 99 && percent < 100 ? 1 : 0);
      const bool has_speedup = speedups[i] > 0 && others == 1;  // more bars leave no room for it
      script += label_at(x, std::max(percent, 0.0),
                         has_speedup ? speedup_text(speedups[i], say) + "\n" + text : text,
                         fmt::format("offset 0,{} font ',{}'", has_speedup ? 2.0 : 0.9,
                                     others == 1   ? 15
                                     : others == 2 ? 12
                                                   : 9));
    }
  }
  script += fmt::format(
      "set xtics ({} 0, {} 1, {} 2, {} 3) font ',13.5'\n"
      "set xrange [-0.6:{}]\nset yrange [{:.9g}:130]\nset ytics 0,25,100\n",
      quoted(say("step time")), quoted(say("time in\nattention")), quoted(say("peak memory")),
      quoted(say("memory of\nattention")), kGroups - 0.4, lowest * 1.15);
  script += "set arrow from graph 0,first 0 to graph 1,first 0 nohead linecolor rgb '#888888'\n";
  return script + "plot NaN notitle\nset ytics auto\n";
}

// The first row's two lines, where it has them.
std::string title_of(const JsonRows& rows) {
  const Json first = rows.empty() ? Json::object() : rows.front();
  return first.value("title", "strobe compare") + "\n" + first.value("subtitle", "");
}

std::string panels(const std::string& title, const std::vector<Bars>& runs, const Style& style) {
  std::string script = fmt::format(
      "set multiplot layout 2,2 title {} font ',19' margins 0.075,0.975,0.085,{} spacing "
      "0.09,0.155\n",
      quoted(title), style.say.language() == Language::english ? 0.865 : 0.835);
  script += loss_panel(runs, style) + time_panel(runs, style) + memory_panel(runs, style);
  if (runs.size() > 1) script += gains_panel(runs, style);
  return script + "unset multiplot\n";
}

}  // namespace

std::string draw_comparison(const std::string& results_path, const std::string& folder,
                            Language language) {
  const JsonRows rows = read_jsonl(results_path);
  const std::vector<TrainingRun> all_runs = training_runs(rows);
  std::vector<Bars> runs;
  for (const TrainingRun& run : all_runs) {
    if (run.has_steps()) runs.push_back({run, summarize(run)});
  }
  if (runs.empty()) return "no pictures: no run finished a step";

  const Style style = {Words(language), picture_font(language)};
  if (style.font.empty()) {
    return "no pictures: no font here has Traditional Chinese (Debian: apt install fonts-noto-cjk)";
  }
  return draw_pictures(folder + "/compare", {1600, 1120}, panels(title_of(rows), runs, style),
                       style.font);
}

}  // namespace strobe
