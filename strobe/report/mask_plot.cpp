#include "strobe/report/mask_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "strobe/report/gnuplot.h"

namespace strobe {
namespace {

constexpr const char *kSeen = "#0072B2", *kMasked = "#E8E8E8", *kPadding = "#F6D9A8";

// Where things are, in pixels from the top left corner.
constexpr int kPanel = 430;     // the longer side of a pattern
constexpr int kPanelLeft = 118;  // for its axis
constexpr int kGap = 34;
constexpr int kTitle = 108;  // for the title's two lines and the legend
constexpr int kPanelTitle = 58;
constexpr int kPanelAxis = 84;
constexpr int kDifference = 190;  // the height of the lower chart
constexpr size_t kColumns = 4, kMostPanels = 8;

struct Box {
  int left, top, width, height;
};

struct Layout {
  size_t columns, rows;
  int panel_width, panel_height;

  PictureSize size() const {
    const auto row_height = kPanelTitle + panel_height + kPanelAxis;
    return {static_cast<int>(columns) * (kPanelLeft + panel_width + kGap),
            kTitle + static_cast<int>(rows) * row_height + kPanelTitle + kDifference + kPanelAxis};
  }
  Box panel(size_t index) const {
    const auto column = static_cast<int>(index % columns), row = static_cast<int>(index / columns);
    return {column * (kPanelLeft + panel_width + kGap) + kPanelLeft,
            kTitle + row * (kPanelTitle + panel_height + kPanelAxis) + kPanelTitle, panel_width,
            panel_height};
  }
  Box difference() const {
    const PictureSize whole = size();
    return {kPanelLeft, whole.height - kPanelAxis - kDifference, whole.width - kPanelLeft - kGap,
            kDifference};
  }
};

std::string at(const Box& box, PictureSize whole) {
  const double width = whole.width, height = whole.height;
  return fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\n"
      "set tmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n",
      box.left / width, (box.left + box.width) / width, 1 - box.top / height,
      1 - (box.top + box.height) / height);
}

// Of the positions [left, right) and [top, bottom): a position is the middle of its square.
std::string rectangle(int64_t left, int64_t top, int64_t right, int64_t bottom,
                      const char* colour) {
  return fmt::format(
      "set object rectangle from first {},{} to {},{} behind fillcolor rgb '{}' fillstyle solid "
      "noborder\n",
      static_cast<double>(left) - 0.5, static_cast<double>(bottom) - 0.5,
      static_cast<double>(right) - 0.5, static_cast<double>(top) - 0.5, colour);
}

// The outlines of what is seen, one for each run of queries that see something: down along the
// ends of their keys, and up again along the beginnings.
std::string outlines(const Json& spans) {
  std::string points;
  for (size_t first = 0; first < spans.size();) {
    const auto sees_any = [&](size_t i) { return spans[i][0] < spans[i][1]; };
    if (!sees_any(first)) {
      ++first;
      continue;
    }
    size_t last = first;
    while (last < spans.size() && sees_any(last)) ++last;
    for (size_t i = first; i < last; ++i) {
      points += fmt::format("{0} {1}\n{0} {2}\n", spans[i][1].get<int64_t>(), i, i + 1);
    }
    for (size_t i = last; i-- > first;) {
      points += fmt::format("{0} {2}\n{0} {1}\n", spans[i][0].get<int64_t>(), i, i + 1);
    }
    points += "\n";
    first = last;
  }
  return points;
}

// "causal: 50.4% seen", or of padded keys "causal, 100 of 128 keys: 30.8% seen".
std::string title_of(const Json& pattern) {
  const auto number = [&](const char* key) { return pattern.at(key).get<int64_t>(); };
  std::string title = pattern.at("name");
  const int64_t keys = number("keys"), real = number("key_end") - number("key_begin");
  if (real < keys) title += fmt::format(", {} of {} keys", real, keys);
  int64_t seen = 0;
  for (const Json& span : pattern.at("spans")) {
    seen += span[1].get<int64_t>() - span[0].get<int64_t>();
  }
  const auto entries = static_cast<double>(keys * number("queries"));
  return title + fmt::format(": {:.3g}% seen", 100 * static_cast<double>(seen) / entries);
}

std::string pattern_panel(const Json& pattern, size_t index) {
  const auto number = [&](const char* key) { return pattern.at(key).get<int64_t>(); };
  const int64_t queries = number("queries"), keys = number("keys");
  std::string script = fmt::format(
      "unset object\nset title {} font ',17' offset 0,-0.3\nset xrange [-0.5:{}]\nset yrange "
      "[{}:-0.5]\n"
      "set xlabel 'Key position'\nset ylabel 'Query position'\n",
      quoted(title_of(pattern)), static_cast<double>(keys) - 0.5,
      static_cast<double>(queries) - 0.5);
  script += rectangle(0, 0, keys, queries, kMasked);
  script += rectangle(0, 0, number("key_begin"), queries, kPadding);
  script += rectangle(number("key_end"), 0, keys, queries, kPadding);
  const std::string points = outlines(pattern.at("spans"));
  if (points.empty()) return script + "plot NaN notitle\n";
  return script + fmt::format(
                      "$pattern{0} << END\n{1}END\nplot $pattern{0} using ($1-0.5):($2-0.5) with "
                      "filledcurves closed fillcolor rgb '{2}' notitle\n",
                      index, points, kSeen);
}

std::string difference_panel(const std::vector<Json>& masks) {
  std::string script =
      "unset object\nset title 'Mean difference of the output from full attention, by query' "
      "font ',17' offset 0,-0.3\n"
      "set xlabel 'Query position'\nset ylabel '|difference|'\nset grid ytics\n"
      "set key top right horizontal\n";
  std::string plots;
  size_t queries = 0;
  double largest = 0;
  for (size_t m = 0; m < masks.size(); ++m) {
    if (!masks[m].contains("mean_difference_by_query")) continue;
    const Json& values = masks[m].at("mean_difference_by_query");
    queries = std::max(queries, values.size());
    script += fmt::format("$difference{} << END\n", m);
    for (size_t i = 0; i < values.size(); ++i) {
      script += fmt::format("{} {:.6g}\n", i, values[i].get<double>());
      largest = std::max(largest, values[i].get<double>());
    }
    script += "END\n";
    plots += fmt::format(
        "{}$difference{} using 1:2 with lines linewidth 2.5 linecolor rgb '{}' title {}",
        plots.empty() ? "" : ", ", m, colour_of(m).strong, quoted(masks[m].at("name")));
  }
  constexpr double kRoomForTheKey = 1.35;
  return script + fmt::format("set xrange [0:{}]\nset yrange [0:{:.6g}]\nplot {}\n",
                              std::max<size_t>(queries, 2) - 1,
                              largest > 0 ? largest * kRoomForTheKey : 1, plots);
}

// Coloured squares and what they mean, under the title.
std::string legend(PictureSize whole, bool has_padding) {
  struct Entry {
    const char *colour, *text;
  };
  std::vector<Entry> entries = {{kSeen, "seen"}, {kMasked, "masked"}};
  if (has_padding) entries.push_back({kPadding, "padding"});
  constexpr double kStep = 120, kSide = 16;
  const double y = 1 - 88.0 / whole.height, width = whole.width, height = whole.height;
  double x = (width - kStep * static_cast<double>(entries.size())) / 2 + 10;
  std::string script;
  for (const Entry& entry : entries) {
    script += fmt::format(
        "set object rectangle from screen {:.5f},{:.5f} to screen {:.5f},{:.5f} fillcolor rgb "
        "'{}' fillstyle solid noborder\nset label {} at screen {:.5f},{:.5f} left\n",
        x / width, y - kSide / 2 / height, (x + kSide) / width, y + kSide / 2 / height,
        entry.colour, quoted(entry.text), (x + kSide + 8) / width, y);
    x += kStep;
  }
  return script;
}

std::vector<Json> rows_of(const JsonRows& rows, const char* kind) {
  std::vector<Json> found;
  std::ranges::copy_if(rows, std::back_inserter(found),
                       [&](const Json& row) { return row.at("kind") == kind; });
  return found;
}

Layout layout_of(const Json& pattern, size_t panels) {
  const auto queries = pattern.at("queries").get<double>(), keys = pattern.at("keys").get<double>();
  const auto side = [](double share) {
    constexpr double kNarrowest = 0.25;
    return static_cast<int>(kPanel * std::clamp(share, kNarrowest, 1.0));
  };
  const size_t columns = panels <= kColumns ? panels : (panels + 1) / 2;
  return {columns, (panels + columns - 1) / columns, side(keys / queries), side(queries / keys)};
}

}  // namespace

std::string draw_masks(const JsonRows& rows, const std::string& path) {
  const std::vector<Json> masks = rows_of(rows, "mask");
  std::vector<Json> patterns = rows_of(rows, "mask_pattern");
  if (patterns.empty()) return "no pictures: there are no rows of kind \"mask_pattern\"";
  if (patterns.size() > kMostPanels) patterns.resize(kMostPanels);
  const Layout layout = layout_of(patterns[0], patterns.size());
  const PictureSize size = layout.size();
  const Json& first = rows.front();
  const auto has_padding = [](const Json& p) {
    return p.at("key_begin") > 0 || p.at("key_end") < p.at("keys");
  };

  std::string script = fmt::format(
      "set multiplot title {} font ',19'\nset border 15\nunset grid\nset tics out\n"
      "set xtics scale 0.5\nset ytics scale 0.5\n",
      quoted(first.value("title", "attention masks") + "\n" + first.value("subtitle", "")));
  for (size_t p = 0; p < patterns.size(); ++p) {
    std::string panel = pattern_panel(patterns[p], p);
    if (p == 0) {
      const std::string squares = legend(size, std::ranges::any_of(patterns, has_padding));
      panel.insert(panel.find('\n') + 1, squares);
    }
    script += at(layout.panel(p), size) + panel + "unset label\n";
  }
  script += at(layout.difference(), size) + difference_panel(masks) + "unset multiplot\n";
  return draw_pictures(path, size, script);
}

}  // namespace strobe
