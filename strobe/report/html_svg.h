#pragma once

#include <string>
#include <string_view>

#include "strobe/report/html_writer.h"

namespace strobe {

// What the drawings share. A drawing is so many units wide, which a phone shows at about one pixel
// each; what it looks like (colours, fonts, lines) is the page's.
constexpr double kDrawingWidth = 360;

std::string svg_number(double x);  // "12.5"
// "line c3": the kind of a shape and the colour of a series.
std::string colour_class(std::string_view kind, size_t colour);
Markup svg_text(std::string_view kind, double x, double y, std::string_view anchor,
                std::string_view text);
Markup svg_line(std::string_view kind, double x1, double y1, double x2, double y2);
// The picture itself, with a text for those who do not see it.
Markup svg_picture(double height, const std::string& description, const Markup& drawing);
// <figure>: a title, a sentence, a legend, the picture; note and legend may be empty.
Markup whole_figure(const std::string& title, const std::string& note, const Markup& legend,
                    const Markup& picture);

}  // namespace strobe
