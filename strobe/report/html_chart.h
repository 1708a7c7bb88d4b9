#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "strobe/report/html_axis.h"
#include "strobe/report/html_writer.h"

namespace strobe {

// Charts as inline SVG: colours and fonts are the page's (html_style.cpp), so they follow light and
// dark, print sharply, and use whatever font the reader has. Each is a <figure> with a title, a
// sentence, a legend where there are several series, and a text for those who do not see it.

// How many colours the page has; the last one is grey, for what curves are held against. Series
// beyond them begin again, with other marks.
constexpr size_t kChartColours = 8;

struct Series {
  std::string name;
  size_t colour = 0;
  std::vector<ChartPoint> points;  // ascending in x
  enum class Look : unsigned char { line, backdrop, dashed } look = Look::line;
};

// A cross above x at the top of the chart: "out of memory".
struct ChartMark {
  double x = 0;
  size_t colour = 0;
  std::string text;
};

struct LineChart {
  std::string title, note;
  std::string x_title, y_title;
  std::string description;  // what the curves show, for those who do not see them
  std::vector<Series> series;
  std::vector<ChartMark> marks;
  bool is_log_x = false, is_log_y = false;
  bool is_from_zero = false;  // the y axis begins at 0
  bool has_all_x = false;     // a tick at each x of the points, where there are few
  std::function<std::string(double)> y_text = tick_text;
};
// Empty if no series has a point that can be drawn (on a logarithmic axis: above 0).
Markup figure(const LineChart& chart);

struct Bar {
  std::string name;
  size_t colour = 0;
  double value = 0;  // the whole bar
  double part = 0;   // of it, drawn darker
  std::string value_text, part_text;
};

struct BarChart {
  std::string title, note;
  std::string description;
  std::vector<Bar> bars;
};
Markup figure(const BarChart& chart);

// Which keys each query sees, as a square of queries (down) and keys (to the right).
struct MaskPicture {
  std::string title, x_title, y_title;
  std::string description;  // shown, and read to those who do not see the picture
  double keys = 0;
  std::vector<std::pair<double, double>> spans;  // of each query: first key, and behind the last
  size_t colour = 1;
};
// Empty if there are no keys or no queries.
Markup figure(const MaskPicture& picture);

}  // namespace strobe
