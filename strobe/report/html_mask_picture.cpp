#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/report/html_chart.h"
#include "strobe/report/html_svg.h"

namespace strobe {
namespace {

constexpr double kLeft = 44, kTop = 24, kBottom = 40, kRight = 12;
constexpr double kSide = kDrawingWidth - kLeft - kRight;
constexpr size_t kRows = 256;  // more could not be told apart

// Rows of the same keys are one rectangle: a picture of 16384 queries has a few hundred at most.
std::string visible_path(const MaskPicture& picture, double height) {
  const size_t queries = picture.spans.size();
  const size_t rows = std::min(queries, kRows);
  const auto span_of = [&](size_t row) { return picture.spans[row * queries / rows]; };
  const auto x_of = [&](double key) { return kLeft + kSide * key / picture.keys; };
  const auto y_of = [&](size_t row) {
    return kTop + height * static_cast<double>(row) / static_cast<double>(rows);
  };
  std::string path;
  for (size_t begin = 0; begin < rows;) {
    size_t end = begin + 1;
    while (end < rows && span_of(end) == span_of(begin)) ++end;
    const auto [first, last] = span_of(begin);
    if (last > first) {
      path += fmt::format("M{:.2f} {:.2f}H{:.2f}V{:.2f}H{:.2f}Z", x_of(first), y_of(begin),
                          x_of(last), y_of(end), x_of(first));
    }
    begin = end;
  }
  return path;
}

}  // namespace

Markup figure(const MaskPicture& picture) {
  if (!(picture.keys > 0) || picture.spans.empty()) return {};
  const auto queries = static_cast<double>(picture.spans.size());
  const double height = kSide * std::clamp(queries / picture.keys, 0.25, 1.5);
  const double bottom = kTop + height, right = kLeft + kSide;
  Markup drawing = element("rect", {{"class", "hidden-pairs"},
                                    {"x", svg_number(kLeft)},
                                    {"y", svg_number(kTop)},
                                    {"width", svg_number(kSide)},
                                    {"height", svg_number(height)}});
  drawing += element("path", {{"class", colour_class("visible-pairs", picture.colour)},
                              {"d", visible_path(picture, height)}});
  const auto last = [](double count) { return tick_text(count - 1); };
  drawing += svg_text("tick", kLeft, bottom + 16, "start", "0") +
             svg_text("tick", right, bottom + 16, "end", last(picture.keys)) +
             svg_text("tick", kLeft - 6, kTop + 10, "end", "0") +
             svg_text("tick", kLeft - 6, bottom, "end", last(queries)) +
             svg_text("axis-title", (kLeft + right) / 2, bottom + 33, "middle", picture.x_title) +
             svg_text("axis-title", 0, 12, "start", picture.y_title);
  return whole_figure(
      picture.title, picture.description, {},
      svg_picture(bottom + kBottom, picture.title + ". " + picture.description, drawing));
}

}  // namespace strobe
