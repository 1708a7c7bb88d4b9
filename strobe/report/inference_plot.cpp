#include "strobe/report/inference_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "strobe/report/gnuplot.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Bar {
  double height, deviation;
  std::string text;
};

// Bars side by side, each with its text on top, and a whisker of one deviation up and down.
std::string panel(const std::vector<Json>& columns, const char* title, const char* y_title,
                  const std::function<Bar(const Json&)>& bar_of) {
  std::string script = fmt::format(
      "unset label\nunset object\nunset arrow\nunset key\nset title '{}' font "
      "'DejaVu Sans:Bold,17' offset 0,0.4\nset ylabel '{}'\n",
      title, y_title);
  std::string tics;
  double highest = 0;
  for (size_t c = 0; c < columns.size(); ++c) {
    const Bar bar = bar_of(columns[c]);
    const auto x = static_cast<double>(c);
    highest = std::max(highest, bar.height + bar.deviation);
    tics += fmt::format("{}{} {}", c > 0 ? ", " : "",
                        quoted(columns[c].at("attention"), /*is_format=*/true), c);
    script += fmt::format(
        "set object rectangle from {},0 to {},{:.9g} fillcolor rgb '{}' fillstyle solid noborder\n",
        x - 0.28, x + 0.28, bar.height, colour_of(c).strong);
    if (bar.deviation > 0) {
      script += fmt::format(
          "set arrow from {0},{1:.9g} to {0},{2:.9g} heads size 0.04,90 front linewidth 2 "
          "linecolor rgb '#333333'\n",
          x, std::max(bar.height - bar.deviation, 0.0), bar.height + bar.deviation);
    }
    script += fmt::format("set label {} at {},{:.9g} center offset 0,0.9 front font ',16'\n",
                          quoted(bar.text), x, bar.height + bar.deviation);
  }
  return script + fmt::format(
                      "set xtics ({}) font ',13.5'\nset xrange [-0.7:{}]\nset yrange [0:{:.9g}]\n"
                      "plot NaN notitle\n",
                      tics, static_cast<double>(columns.size()) - 0.3,
                      highest > 0 ? highest * 1.25 : 1);
}

std::function<Bar(const Json&)> mean_of(const std::string& field, const char* unit) {
  return [=](const Json& row) {
    const auto mean = row.at(field).get<double>();
    const auto deviation = row.at(field + "_std").get<double>();
    return Bar{mean, deviation, mean_text(mean, deviation) + unit};
  };
}

}  // namespace

std::string draw_inference(const JsonRows& rows, const std::string& title,
                           const std::string& path) {
  std::vector<Json> columns;
  for (const Json& row : rows) {
    if (row.at("kind") == "generation") columns.push_back(row);
  }
  if (columns.empty()) return "no pictures: no run finished";
  const auto memory = [](const Json& row) {
    const auto bytes = row.at("peak_total_bytes").get<double>();
    return Bar{bytes / 1e6, 0, bytes_text(bytes)};
  };
  const std::string script =
      fmt::format(
          "set multiplot layout 2,2 title {} font ',19' margins 0.085,0.975,0.06,0.865 spacing "
          "0.09,0.155\n",
          quoted(title)) +
      panel(columns, "Time to the first token", "ms", mean_of("prefill_ms", " ms")) +
      panel(columns, "Time of each further token", "ms", mean_of("token_ms", " ms")) +
      panel(columns, "Tokens a second after the first", "tokens/s", mean_of("tokens_per_s", "")) +
      panel(columns, "Peak memory", "MB", memory) + "unset multiplot\n";
  return draw_pictures(path, {1600, 1080}, script);
}

}  // namespace strobe
