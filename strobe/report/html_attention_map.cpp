// The section of an attention map: how much each token of a prompt attends to those before it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/html_svg.h"
#include "strobe/report/table.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

constexpr size_t kMostTokens = 128;   // more cells could not be told apart
constexpr size_t kMostLabels = 40;    // more names could not be read
constexpr size_t kLongestLabel = 10;  // columns
constexpr double kFaintest = 0.004;   // probabilities below it are not drawn

struct AttentionMap {
  std::vector<std::string> tokens;
  std::vector<std::vector<double>> probabilities;  // of each query: to each key
};

// Empty if the row holds something else than a square of numbers.
AttentionMap map_of(const Json& row) {
  AttentionMap map;
  for (const Json& token : row.value("tokens", Json::array())) {
    map.tokens.push_back(token.is_string() ? token.get<std::string>() : token.dump());
  }
  for (const Json& line : row.value("probabilities", Json::array())) {
    std::vector<double> values;
    for (const Json& p : line) values.push_back(p.is_number() ? p.get<double>() : std::nan(""));
    map.probabilities.push_back(std::move(values));
  }
  const size_t n = map.tokens.size();
  const bool is_square =
      map.probabilities.size() == n &&
      std::ranges::all_of(map.probabilities, [&](const auto& line) { return line.size() <= n; });
  return is_square && n > 0 ? map : AttentionMap{};
}

// Spaces and line ends are seen; long tokens are cut between characters.
std::string label_of(const std::string& token) {
  std::string text;
  for (char c : token) text += c == ' ' ? "·" : c == '\n' ? "↵" : std::string(1, c);
  while (display_width(text) > kLongestLabel) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    text.resize(last);
  }
  return text;
}

Markup cells_of(const AttentionMap& map, double left, double top, double side) {
  const double cell = side / static_cast<double>(map.tokens.size());
  Markup cells;
  for (size_t q = 0; q < map.probabilities.size(); ++q) {
    for (size_t k = 0; k < map.probabilities[q].size(); ++k) {
      const double p = map.probabilities[q][k];
      if (!(p >= kFaintest)) continue;
      cells += element("rect", {{"class", colour_class("visible-pairs", 1)},
                                {"fill-opacity", fmt::format("{:.2f}", std::min(p, 1.0))},
                                {"x", svg_number(left + cell * static_cast<double>(k))},
                                {"y", svg_number(top + cell * static_cast<double>(q))},
                                {"width", svg_number(cell)},
                                {"height", svg_number(cell)}});
    }
  }
  return cells;
}

// Names of queries on the left; those of keys, the same, stand on their heads below.
Markup labels_of(const AttentionMap& map, double left, double bottom, double top) {
  const double cell = (bottom - top) / static_cast<double>(map.tokens.size());
  Markup labels;
  for (size_t i = 0; i < map.tokens.size(); ++i) {
    const std::string text = label_of(map.tokens[i]);
    const double middle = cell * (static_cast<double>(i) + 0.5);
    labels += svg_text("token", left - 5, top + middle + 3, "end", text);
    const double x = left + middle + 3, y = bottom + 5;
    labels += element("text",
                      {{"class", "token"},
                       {"text-anchor", "end"},
                       {"transform", fmt::format("translate({:.1f} {:.1f}) rotate(-90)", x, y)}},
                      text);
  }
  return labels;
}

}  // namespace

Section attention_map_section(const ResultsFile& file, const Words& say) {
  if (file.attention_maps.empty()) return {};
  Section section{.title = say("Attention over the prompt"), .about = file.said("subtitle")};
  for (const Json& row : file.attention_maps) {
    const AttentionMap map = map_of(row);
    if (map.tokens.empty() || map.tokens.size() > kMostTokens) continue;
    double strongest = -1;
    std::pair<size_t, size_t> where;
    for (size_t q = 0; q < map.probabilities.size(); ++q) {
      for (size_t k = 0; k < map.probabilities[q].size(); ++k) {
        if (!(map.probabilities[q][k] > strongest) || q == 0) continue;  // the first sees itself
        strongest = map.probabilities[q][k];
        where = {q, k};
      }
    }
    const std::string share = percent_text(std::max(strongest, 0.0));
    const std::string &from = map.tokens[where.first], &to = map.tokens[where.second];
    if (strongest >= 0) {
      section.reading.push_back(
          {say("The strongest is {0}, of the token “{1}” to “{2}”.", share, from, to)});
    }
    const bool has_labels = map.tokens.size() <= kMostLabels;
    const double left = has_labels ? 76 : 8, top = 8, side = kDrawingWidth - left - 4;
    const double bottom = top + side;
    Markup drawing = element("rect", {{"class", "hidden-pairs"},
                                      {"x", svg_number(left)},
                                      {"y", svg_number(top)},
                                      {"width", svg_number(side)},
                                      {"height", svg_number(side)}}) +
                     cells_of(map, left, top, side);
    if (has_labels) drawing += labels_of(map, left, bottom, top);
    section.body += element(
        "div", {{"class", "charts one"}},
        whole_figure(
            say("Layer {0}, head {1}", text_or_empty(row, "layer"), text_or_empty(row, "head")),
            say("Each row is a token; the fuller the colour of a cell, the more it attends to the "
                "token of that column."),
            {},
            svg_picture(bottom + (has_labels ? 76 : 8),
                        say("Attention of {0} tokens to each other. Strongest: {1} to {2}, {3}.",
                            map.tokens.size(), from, to, share),
                        drawing)));
  }
  return section;
}

}  // namespace strobe
