#include "strobe/report/mask_table.h"

#include <fmt/format.h>

#include <functional>
#include <vector>

#include "strobe/report/table.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// "8256 of 16384 (50.4%)", or for sequences of different lengths "3828–8256 of …".
std::string visible_text(const Json& mask) {
  const auto counts = mask.at("visible").get<std::vector<int64_t>>();
  const auto entries = mask.at("entries").get<int64_t>();
  int64_t sum = 0, fewest = counts.at(0), most = counts.at(0);
  for (int64_t count : counts) {
    sum += count;
    fewest = std::min(fewest, count);
    most = std::max(most, count);
  }
  const double share =
      static_cast<double>(sum) / static_cast<double>(entries * static_cast<int64_t>(counts.size()));
  const std::string range = fewest == most ? fmt::format("{}", most)
                                           : fmt::format("{}–{}", fewest, most);
  return fmt::format("{} ({})", range, percent_text(share));
}

std::string number_text(const Json& mask, const char* field) {
  const auto found = mask.find(field);
  if (found == mask.end() || found->is_null()) return "–";
  return fmt::format("{:.3g}", found->get<double>());
}

std::string last_query_text(const Json& mask) {
  const auto found = mask.find("mean_difference_by_query");
  return found == mask.end() ? "–" : fmt::format("{:.3g}", found->back().get<double>());
}

}  // namespace

std::string mask_table(const JsonRows& rows) {
  std::vector<Json> masks;
  std::string text;
  for (const Json& row : rows) {
    if (row.at("kind") == "mask") masks.push_back(row);
    if (row.at("kind") != "provenance") continue;
    text += fmt::format("{}\n{}\n", row.value("title", ""), row.value("subtitle", ""));
    std::string shapes;
    for (const auto& [name, shape] : row.at("shapes").items()) {
      shapes += fmt::format("{}{} {}", shapes.empty() ? "" : ", ", name, shape.dump());
    }
    text += shapes + "\n\n";
  }
  if (masks.empty()) return text + "no mask was computed\n";

  std::vector<std::string> head = {fmt::format(
      "of {} entries, queries × keys, of a head", masks[0].at("entries").get<int64_t>())};
  for (const Json& mask : masks) head.push_back(mask.at("name"));
  Table table(std::move(head));
  const auto add = [&](const std::string& name,
                       const std::function<std::string(const Json&)>& cell) {
    std::vector<std::string> cells = {name};
    for (const Json& mask : masks) cells.push_back(cell(mask));
    table.add(std::move(cells));
  };
  add("seen", visible_text);
  add("output against full, largest difference",
      [](const Json& m) { return number_text(m, "max_difference"); });
  add("  mean difference", [](const Json& m) { return number_text(m, "mean_difference"); });
  add("  mean difference of the last query", last_query_text);
  add("probabilities of a query add up to 1 within",
      [](const Json& m) { return number_text(m, "probability_sum_error"); });
  add("implementation", [](const Json& m) { return m.at("attention_impl").get<std::string>(); });
  return text + table.text();
}

}  // namespace strobe
