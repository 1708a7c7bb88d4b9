#include "strobe/report/sweep_table.h"

#include <fmt/format.h>

#include "strobe/report/table.h"

namespace strobe {
namespace {

std::string quantity_table(const SweepResults& sweep, const SweepQuantity& quantity) {
  std::vector<std::string> head = {quantity.name};
  for (const SweepCurve& curve : sweep.curves) head.push_back(curve.attention);
  const bool is_pair = sweep.curves.size() == 2;
  if (is_pair) head.push_back("ratio");
  Table table(std::move(head));
  for (size_t i = 0; i < sweep.values.size(); ++i) {
    std::vector<std::string> cells = {fmt::format("{} {}", sweep.axis, sweep.values[i])};
    for (const SweepCurve& curve : sweep.curves) {
      const auto value = curve.points[i].of(quantity);
      cells.push_back(value ? sweep_text(quantity, *value)
                            : sweep_ending_text(curve.points[i].ending));
    }
    if (is_pair) {
      const auto first = sweep.curves[0].points[i].of(quantity);
      const auto second = sweep.curves[1].points[i].of(quantity);
      cells.push_back(first && second && *second > 0 ? fmt::format("{:.2f}×", *first / *second)
                                                     : "–");
    }
    table.add(std::move(cells));
  }
  table.add_rule();
  std::vector<std::string> cells = {"grows at the end like"};
  for (const SweepCurve& curve : sweep.curves) {
    const auto exponent = growth(curve, quantity);
    cells.push_back(exponent ? fmt::format("{}^{:.2f}", sweep.axis, *exponent) : "–");
  }
  if (is_pair) cells.emplace_back("");
  table.add(std::move(cells));
  return table.text();
}

}  // namespace

std::string sweep_table(const SweepResults& sweep) {
  std::string text;
  for (const SweepQuantity& quantity : sweep.quantities()) {
    text += (text.empty() ? "" : "\n") + quantity_table(sweep, quantity);
  }
  std::string reasons;
  for (const SweepCurve& curve : sweep.curves) {
    for (const SweepPoint& point : curve.points) {
      if (point.message.empty()) continue;
      const std::string ending = sweep_ending_text(point.ending);
      const bool says_so = point.message.starts_with(ending);  // "out of memory: …"
      reasons += fmt::format("{}, {} {}: {}{}\n", curve.attention, sweep.axis, point.value,
                             says_so ? "" : ending + ": ", point.message);
    }
  }
  return reasons.empty() ? text : text + "\n" + reasons;
}

}  // namespace strobe
