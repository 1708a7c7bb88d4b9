#include "strobe/report/attention_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/report/gnuplot.h"
#include "strobe/report/table.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// In pixels.
constexpr double kSmallestMap = 520, kLargestMap = 1000, kWidestCell = 64;
constexpr double kSmallestLabel = 13;  // the height of a line of text
constexpr int kRight = 165, kTop = 100;
constexpr size_t kLongestLabel = 14;
constexpr size_t kMostNumbers = 14;  // tokens, with numbers in the cells
constexpr size_t kMostPixels = 256;  // tokens, with a rectangle for each cell in the SVG

const Json& map_row(const JsonRows& rows) {
  const auto found =
      std::ranges::find_if(rows, [](const Json& row) { return row.at("kind") == "attention_map"; });
  check(found != rows.end(), "there is no row of kind \"attention_map\"");
  return *found;
}

// A token for people: blanks are seen, what cannot be is written as its number, and long ones are
// cut at a character.
std::string label_of(const std::string& token) {
  std::string text;
  size_t characters = 0;
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_first = (byte & 0xC0) != 0x80;  // of a UTF-8 character
    if (is_first && ++characters > kLongestLabel) return text + "…";
    if (c == ' ') {
      text += "·";
    } else if (c == '\n') {
      text += "↵";
    } else if (byte < 0x20 || byte == 0x7F) {
      text += fmt::format("<{:02x}>", byte);
    } else {
      text += c;
    }
  }
  return text.empty() ? "∅" : text;
}

std::vector<std::string> labels_of(const Json& row) {
  std::vector<std::string> labels;
  for (const Json& token : row.at("tokens")) labels.push_back(label_of(token));
  return labels;
}

struct MapSize {
  double cell;   // of one token
  double side;   // of the map
  size_t every;  // how many tokens share a label
};

MapSize size_of(size_t tokens) {
  const auto n = static_cast<double>(tokens);
  const double side = std::clamp(n * 30, std::min(kSmallestMap, n * kWidestCell), kLargestMap);
  const double cell = side / n;
  return {cell, side, static_cast<size_t>(std::ceil(kSmallestLabel / cell))};
}

// Pixels for an axis' title and the labels beside it.
int room_for(const std::vector<std::string>& labels) {
  constexpr size_t kTitle = 78, kCharacter = 10, kNumber = 5;
  size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, display_width(label));
  return static_cast<int>(kTitle + kCharacter * (longest + kNumber));
}

// "·the 1", so that equal tokens can be told apart; thinned out where there are many.
std::string tics(const std::vector<std::string>& labels, size_t every) {
  std::string text;
  for (size_t i = 0; i < labels.size(); i += every) {
    text += fmt::format("{}{} {}", i > 0 ? ", " : "",
                        quoted(fmt::format("{} {}", labels[i], i), /*is_format=*/true), i);
  }
  return text;
}

// The colour of a probability follows its root: small ones are seen, too.
std::string cells(const Json& probabilities) {
  const size_t n = probabilities.size();
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      text +=
          j <= i ? fmt::format("{} {} {:.5f}\n", j, i, std::sqrt(probabilities[i][j].get<double>()))
                 : fmt::format("{} {} NaN\n", j, i);
    }
    text += "\n";
  }
  return text;
}

std::string numbers(const Json& probabilities) {
  constexpr double kDark = 0.3;
  std::string text;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const auto p = probabilities[i][j].get<double>();
      text +=
          fmt::format("set label '{:.2f}' at {},{} center front font ',11' textcolor rgb '{}'\n", p,
                      j, i, p > kDark ? "white" : "#222222");
    }
  }
  return text;
}

}  // namespace

std::string attention_map_table(const JsonRows& rows) {
  constexpr size_t kMostRows = 40, kStrongest = 3;
  const Json& row = map_row(rows);
  const std::vector<std::string> labels = labels_of(row);
  Table table({"token", "attends most to", "", ""});
  const size_t first = labels.size() > kMostRows ? labels.size() - kMostRows : 0;
  for (size_t i = first; i < labels.size(); ++i) {
    const auto p = row.at("probabilities").at(i).get<std::vector<double>>();
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return p[a] > p[b]; });
    std::vector<std::string> line = {fmt::format("{} {}", i, labels[i])};
    for (size_t k = 0; k < kStrongest; ++k) {
      line.push_back(k < order.size() ? fmt::format("{} {} {}", order[k], labels[order[k]],
                                                    percent_text(p[order[k]]))
                                      : "");
    }
    table.add(std::move(line));
  }
  return (first > 0 ? fmt::format("the last {} of {} tokens\n", kMostRows, labels.size()) : "") +
         table.text();
}

std::string draw_attention_map(const JsonRows& rows, const std::string& path) {
  const Json& row = map_row(rows);
  const std::vector<std::string> labels = labels_of(row);
  const MapSize size = size_of(labels.size());
  const int margin = room_for(labels);  // on the left and below
  const PictureSize whole = {static_cast<int>(size.side) + margin + kRight,
                             static_cast<int>(size.side) + kTop + margin};
  const double n = static_cast<double>(labels.size());
  const Json& first = rows.front();
  const std::string script = fmt::format(
      "set title {title} font ',17'\n"
      "set lmargin at screen {left:.5f}\nset rmargin at screen {right:.5f}\n"
      "set tmargin at screen {top:.5f}\nset bmargin at screen {bottom:.5f}\n"
      "unset grid\nset border 15\nset tics out\nunset key\n"
      "set xrange [-0.5:{end}]\nset yrange [{end}:-0.5]\n"
      "set xtics rotate by 90 right ({tics}) font ',{font}'\nset ytics ({tics}) font ',{font}'\n"
      "set xlabel 'Key position: the token that is attended to'\n"
      "set ylabel 'Query position: the token that attends'\n"
      "set object rectangle from -0.5,-0.5 to {end},{end} behind fillcolor rgb '#E8E8E8' "
      "fillstyle solid noborder\n"
      "set palette defined (0 '#F7FBFF', 0.3 '#9ECAE1', 0.65 '#3182BD', 1 '#08306B')\n"
      "set cbrange [0:1]\n"
      "set cbtics ('0' 0, '1%%' 0.1, '5%%' 0.2236, '10%%' 0.3162, '25%%' 0.5, '50%%' 0.7071, "
      "'100%%' 1)\n{numbers}$map << END\n{cells}END\nplot $map using 1:2:3 with image{pixels}\n",
      fmt::arg("title",
               quoted(first.value("title", "attention") + "\n" + first.value("subtitle", ""))),
      fmt::arg("left", static_cast<double>(margin) / whole.width),
      fmt::arg("right", 1 - static_cast<double>(kRight) / whole.width),
      fmt::arg("top", 1 - static_cast<double>(kTop) / whole.height),
      fmt::arg("bottom", static_cast<double>(margin) / whole.height), fmt::arg("end", n - 0.5),
      fmt::arg("tics", tics(labels, size.every)),
      fmt::arg("font", std::clamp(static_cast<int>(size.cell * 0.5), 9, 13)),
      fmt::arg("numbers", labels.size() <= kMostNumbers ? numbers(row.at("probabilities")) : ""),
      fmt::arg("cells", cells(row.at("probabilities"))),
      fmt::arg("pixels", labels.size() <= kMostPixels ? " pixels" : ""));
  return draw_pictures(path, whole, script);
}

}  // namespace strobe
