// The section of `strobe masks`: what a query sees under each mask, and what that changes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

std::string name_of(const Json& row, const Words& say) {
  const std::string name = text_or_empty(row, "name");
  return say.word(name.empty() ? text_or_empty(row, "mask") : name);
}

// The visible share of all pairs of a query and a key, over all sequences; NaN if it is not there.
double visible_share(const Json& row) {
  const double entries = number_or_nan(row, "entries");
  const auto visible = row.find("visible");
  if (visible == row.end() || !visible->is_array() || visible->empty()) return std::nan("");
  double sum = 0;
  for (const Json& count : *visible) sum += count.is_number() ? count.get<double>() : std::nan("");
  return sum / (entries * static_cast<double>(visible->size()));
}

Markup cell(double value, std::string (*text)(double)) {
  return std::isfinite(value) ? data(value, text(value)) : Markup::literal("–");
}

Markup mask_table(const JsonRows& rows, const Words& say) {
  HtmlTable table(say("The same queries, keys and values under each mask"),
                  {say("mask"), say("visible pairs"), say("largest difference"),
                   say("mean difference"), say("error of the sum of probabilities")});
  for (const Json& row : rows) {
    table.add(name_of(row, say), {cell(visible_share(row), percent_text),
                                  cell(number_or_nan(row, "max_difference"), power_text),
                                  cell(number_or_nan(row, "mean_difference"), power_text),
                                  cell(number_or_nan(row, "probability_sum_error"), power_text)});
  }
  return table.markup();
}

MaskPicture picture_of(const Json& row, bool has_sequence, const Words& say) {
  MaskPicture picture{.title = name_of(row, say),
                      .x_title = say("key position"),
                      .y_title = say("query position"),
                      .keys = number_or_nan(row, "keys")};
  if (has_sequence) {
    picture.title += ", " + say("sequence {0}", text_or_empty(row, "sequence"));
  }
  double visible = 0;
  for (const Json& span : row.value("spans", Json::array())) {
    if (!span.is_array() || span.size() != 2 || !span[0].is_number() || !span[1].is_number()) {
      return {};
    }
    picture.spans.push_back({span[0].get<double>(), span[1].get<double>()});
    visible += std::max(0.0, span[1].get<double>() - span[0].get<double>());
  }
  picture.description =
      say("{0} of all pairs of a query and a key are visible.",
          percent_text(visible / (picture.keys * static_cast<double>(picture.spans.size()))));
  return picture;
}

std::vector<Sentence> mask_reading(const JsonRows& rows, const Words& say) {
  std::vector<Sentence> reading;
  for (const Json& row : rows) {
    const std::string name = name_of(row, say);
    const double share = visible_share(row), largest = number_or_nan(row, "max_difference");
    if (!std::isfinite(share)) continue;
    if (!std::isfinite(largest)) {
      reading.push_back({say("With the mask “{0}” a query sees {1} of the keys on average.", name,
                             percent_text(share))});
      continue;
    }
    reading.push_back(
        {largest == 0
             ? say("With the mask “{0}” it sees {1}; the results are the same as with “{2}”.", name,
                   percent_text(share), say.word(text_or_empty(row, "baseline")))
             : say("With the mask “{0}” it sees {1}; the results differ from “{2}” by at most {3}, "
                   "by {4} on average.",
                   name, percent_text(share), say.word(text_or_empty(row, "baseline")),
                   power_text(largest), power_text(number_or_nan(row, "mean_difference")))});
  }
  return reading;
}

}  // namespace

Section mask_section(const ResultsFile& file, const Words& say) {
  if (file.masks.empty() && file.mask_patterns.empty()) return {};
  Section section{.title = say("Masks"),
                  .about = file.said("subtitle"),
                  .reading = mask_reading(file.masks, say)};
  Markup pictures;
  for (const Json& row : file.mask_patterns) {
    const auto same = std::ranges::count_if(file.mask_patterns, [&](const Json& other) {
      return name_of(other, say) == name_of(row, say);
    });
    pictures += figure(picture_of(row, same > 1, say));
  }
  section.body = element("div", {{"class", "charts small"}}, pictures);
  if (!file.masks.empty()) section.body += mask_table(file.masks, say);
  return section;
}

}  // namespace strobe
