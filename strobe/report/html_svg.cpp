#include "strobe/report/html_svg.h"

#include <fmt/format.h>

#include "strobe/report/html_chart.h"

namespace strobe {

std::string svg_number(double x) { return fmt::format("{:.1f}", x); }

std::string colour_class(std::string_view kind, size_t colour) {
  return fmt::format("{} c{}", kind, colour % kChartColours);
}

Markup svg_text(std::string_view kind, double x, double y, std::string_view anchor,
                std::string_view text) {
  return element("text",
                 {{"class", std::string(kind)},
                  {"x", svg_number(x)},
                  {"y", svg_number(y)},
                  {"text-anchor", std::string(anchor)}},
                 text);
}

Markup svg_line(std::string_view kind, double x1, double y1, double x2, double y2) {
  return element("line", {{"class", std::string(kind)},
                          {"x1", svg_number(x1)},
                          {"y1", svg_number(y1)},
                          {"x2", svg_number(x2)},
                          {"y2", svg_number(y2)}});
}

Markup svg_picture(double height, const std::string& description, const Markup& drawing) {
  return element("svg",
                 {{"viewBox", fmt::format("0 0 {:.0f} {:.0f}", kDrawingWidth, height)},
                  {"role", "img"},
                  {"aria-label", description}},
                 drawing);
}

Markup whole_figure(const std::string& title, const std::string& note, const Markup& legend,
                    const Markup& picture) {
  Markup caption = element("h3", title);
  if (!note.empty()) caption += element("p", note);
  return element("figure", element("figcaption", caption) + legend + picture) +
         Markup::literal("\n");
}

}  // namespace strobe
