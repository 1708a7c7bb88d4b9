#include "strobe/report/html_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "strobe/report/html_svg.h"
#include "strobe/report/table.h"

namespace strobe {
namespace {

constexpr double kWidth = kDrawingWidth, kHeight = 240;
constexpr double kTop = 24, kBottom = 40, kRight = 12;
constexpr double kDigitWidth = 7.2;  // of a tick's text, a little more than it takes
constexpr size_t kPoints = 500;      // of a curve; more could not be told apart
constexpr size_t kMarkedPoints = 24;
constexpr int kYTicks = 5, kXTicks = 5;
constexpr size_t kMostXTicks = 8;
constexpr double kMarkRoom = 0.15;  // of the height

// The shapes that tell points apart where colours do not.
Markup point_mark(size_t colour, double x, double y) {
  const char* paths[] = {"m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
                         "m-2.9 -2.9h5.8v5.8h-5.8z",
                         "m0 -3.8l3.6 6.2h-7.2z",
                         "m0 -4l4 4l-4 4l-4 -4z",
                         "m0 3.8l3.6 -6.2h-7.2z",
                         "m-3.6 -1.1h7.2v2.2h-7.2z"};
  return element("path",
                 {{"class", colour_class("point", colour)},
                  {"d", fmt::format("M{:.1f} {:.1f}{}", x, y, paths[colour % std::size(paths)])}});
}

Markup legend_of(const std::vector<Series>& series) {
  if (series.size() < 2) return {};
  Markup items;
  for (const Series& s : series) {
    const char* look = s.look == Series::Look::backdrop ? "backdrop"
                       : s.look == Series::Look::dashed ? "dashed"
                                                        : "line";
    Markup key = element("path", {{"class", colour_class(look, s.colour)}, {"d", "M1 6H23"}});
    if (s.look == Series::Look::line && s.points.size() <= kMarkedPoints) {
      key += point_mark(s.colour, 12, 6);
    }
    items +=
        element("li", element("svg", {{"viewBox", "0 0 24 12"}, {"aria-hidden", "true"}}, key) +
                          Markup::text(s.name));
  }
  return element("ul", {{"class", "legend"}}, items);
}

// A line chart being drawn: its axes, and points of the data as points of the drawing.
class Plot {
 public:
  static bool can_draw(const LineChart& chart) {
    return std::ranges::any_of(chart.series,
                               [&](const Series& s) { return !drawn(chart, s).empty(); });
  }

  explicit Plot(const LineChart& chart)
      : chart_(chart), x_axis_(range_x(chart)), y_axis_(range_y(chart)) {
    size_t longest = 0;
    for (double y : y_axis_.ticks(kYTicks)) {
      longest = std::max(longest, display_width(chart.y_text(y)));
    }
    left_ = std::clamp(kDigitWidth * static_cast<double>(longest) + 10, 34.0, 90.0);
  }

  Markup draw() const {
    Markup drawing = grid();
    for (const Series& series : chart_.series) drawing += curve(series);
    for (const ChartMark& mark : chart_.marks) drawing += cross(mark);
    return drawing;
  }

 private:
  static std::vector<ChartPoint> drawn(const LineChart& chart, const Series& series) {
    std::vector<ChartPoint> points = thin(series.points, kPoints);
    std::erase_if(points, [&](const ChartPoint& p) {
      return (chart.is_log_x && p.x <= 0) || (chart.is_log_y && p.y <= 0);
    });
    return points;
  }

  static Axis range_x(const LineChart& chart) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (const Series& series : chart.series) {
      for (const ChartPoint& p : drawn(chart, series)) {
        low = std::min(low, p.x);
        high = std::max(high, p.x);
      }
    }
    for (const ChartMark& mark : chart.marks) {
      low = std::min(low, mark.x);
      high = std::max(high, mark.x);
    }
    return {low, high, chart.is_log_x};
  }

  static Axis range_y(const LineChart& chart) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (const Series& series : chart.series) {
      for (const ChartPoint& p : drawn(chart, series)) {
        low = std::min(low, p.y);
        high = std::max(high, p.y);
      }
    }
    // Crosses have the top for themselves.
    const double room = chart.marks.empty() ? 0 : kMarkRoom;
    if (chart.is_log_y) {
      return {low / 1.3, high * 1.3 * std::pow(high / low * 1.69, room / (1 - room)), true};
    }
    high += (high - low) * room;
    if (chart.is_from_zero) return Axis::with_round_ends(std::min(low, 0.0), high);
    return Axis::with_round_ends(low, high);
  }

  double x_of(double x) const { return left_ + (kWidth - kRight - left_) * x_axis_.position(x); }
  double y_of(double y) const {
    return kHeight - kBottom - (kHeight - kBottom - kTop) * y_axis_.position(y);
  }

  std::vector<double> x_ticks() const {
    std::set<double> all;
    for (const Series& series : chart_.series) {
      for (const ChartPoint& p : drawn(chart_, series)) all.insert(p.x);
    }
    for (const ChartMark& mark : chart_.marks) all.insert(mark.x);
    if (chart_.has_all_x && all.size() <= kMostXTicks) return {all.begin(), all.end()};
    return x_axis_.ticks(kXTicks);
  }

  Markup grid() const {
    Markup drawing;
    for (double y : y_axis_.ticks(kYTicks)) {
      drawing += svg_line("grid", left_, y_of(y), kWidth - kRight, y_of(y));
      drawing += svg_text("tick", left_ - 6, y_of(y) + 4, "end", chart_.y_text(y));
    }
    double last_end = 0;  // of a tick's text: the next must not touch it
    for (double x : x_ticks()) {
      const std::string text = tick_text(x);
      const double half = kDigitWidth * static_cast<double>(text.size()) / 2;
      const double at = std::min(x_of(x), kWidth - half);
      if (at - half < last_end) continue;
      drawing += svg_text("tick", at, kHeight - kBottom + 16, "middle", text);
      last_end = at + half + 4;
    }
    drawing += svg_line("axis", left_, kHeight - kBottom, kWidth - kRight, kHeight - kBottom);
    drawing += svg_text("axis-title", (left_ + kWidth - kRight) / 2, kHeight - 5, "middle",
                        chart_.x_title);
    drawing += svg_text("axis-title", 0, 12, "start", chart_.y_title);
    return drawing;
  }

  Markup curve(const Series& series) const {
    const std::vector<ChartPoint> points = drawn(chart_, series);
    if (points.empty()) return {};
    std::string path;
    for (const ChartPoint& p : points) {
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x_of(p.x), y_of(p.y));
    }
    const char* look = series.look == Series::Look::backdrop ? "backdrop"
                       : series.look == Series::Look::dashed ? "dashed"
                                                             : "line";
    Markup drawing = element("path", {{"class", colour_class(look, series.colour)}, {"d", path}});
    if (points.size() == 1 ||
        (points.size() <= kMarkedPoints && series.look == Series::Look::line)) {
      for (const ChartPoint& p : points) {
        drawing += point_mark(series.colour, x_of(p.x), y_of(p.y));
      }
    }
    return drawing;
  }

  Markup cross(const ChartMark& mark) const {
    const double x = x_of(mark.x), y = kTop + 8;
    const bool is_left = x > kWidth / 2;
    return element("path", {{"class", colour_class("cross", mark.colour)},
                            {"d", fmt::format("M{:.1f} {:.1f}l8 8m0 -8l-8 8", x - 4, y - 4)}}) +
           svg_text("mark", is_left ? x - 9 : x + 9, y + 4, is_left ? "end" : "start", mark.text);
  }

  const LineChart& chart_;
  Axis x_axis_, y_axis_;
  double left_ = 0;
};

}  // namespace

Markup figure(const LineChart& chart) {
  if (!Plot::can_draw(chart)) return {};
  return whole_figure(
      chart.title, chart.note, legend_of(chart.series),
      svg_picture(kHeight, chart.title + ". " + chart.description, Plot(chart).draw()));
}

// Lying bars: names of any length have a line of their own, on a phone too.
Markup figure(const BarChart& chart) {
  constexpr double kGap = 10, kTextLine = 14, kBarTop = 20, kBarHeight = 14, kPartLine = 48;
  double largest = 0;
  for (const Bar& bar : chart.bars) {
    if (std::isfinite(bar.value)) largest = std::max(largest, bar.value);
  }
  Markup drawing;
  double y = 0;
  for (const Bar& bar : chart.bars) {
    const auto width = [&](double value) {
      return largest > 0 && value > 0 ? std::max(kWidth * value / largest, 1.0) : 0.0;
    };
    drawing += svg_text("bar-name", 0, y + kTextLine, "start", bar.name);
    drawing += svg_text("bar-value", kWidth, y + kTextLine, "end", bar.value_text);
    const auto rectangle = [&](const char* style, double value) {
      return element("rect", {{"class", colour_class(style, bar.colour)},
                              {"x", "0"},
                              {"y", svg_number(y + kBarTop)},
                              {"width", svg_number(width(value))},
                              {"height", svg_number(kBarHeight)},
                              {"rx", "2"}});
    };
    drawing += rectangle("whole", bar.value);
    if (bar.part > 0) drawing += rectangle("part-of", std::min(bar.part, bar.value));
    if (!bar.part_text.empty()) {
      drawing += svg_text("bar-part", 0, y + kPartLine, "start", bar.part_text);
    }
    y += (bar.part_text.empty() ? kBarTop + kBarHeight : kPartLine + 2) + kGap;
  }
  return whole_figure(chart.title, chart.note, {},
                      svg_picture(y, chart.title + ". " + chart.description, drawing));
}

}  // namespace strobe
