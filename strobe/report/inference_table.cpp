#include "strobe/report/inference_table.h"

#include <fmt/format.h>

#include <functional>
#include <vector>

#include "strobe/report/table.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

using CellText = std::function<std::string(const Json&)>;

double number(const Json& row, const std::string& field) { return row.at(field).get<double>(); }

void add_row(Table& table, const std::vector<Json>& columns, const std::string& name,
             const CellText& text) {
  std::vector<std::string> cells = {name};
  for (const Json& column : columns) cells.push_back(text(column));
  table.add(std::move(cells));
}

CellText mean_of(const std::string& field, const char* unit) {
  return [=](const Json& row) {
    return mean_text(number(row, field), number(row, field + "_std")) + unit;
  };
}

std::string gains_table(const std::vector<Json>& columns) {
  std::vector<std::string> head = {"against " + columns[0].at("attention").get<std::string>()};
  const std::vector<Json> others(columns.begin() + 1, columns.end());
  for (const Json& other : others) head.push_back(other.at("attention"));
  Table table(std::move(head));
  const auto ratio = [&](const char* field) {
    return [&columns, field](const Json& row) {
      return fmt::format("{:.2f}×", number(columns[0], field) / number(row, field));
    };
  };
  add_row(table, others, "speed-up of the first token", ratio("prefill_ms"));
  add_row(table, others, "speed-up of the others", ratio("token_ms"));
  add_row(table, others, "memory saved", [&](const Json& row) {
    return percent_text(1 -
                        number(row, "peak_total_bytes") / number(columns[0], "peak_total_bytes"));
  });
  add_row(table, others, "same text", [&](const Json& row) {
    const auto first = columns[0].at("tokens").get<std::vector<int32_t>>();
    const auto tokens = row.at("tokens").get<std::vector<int32_t>>();
    size_t same = 0;
    while (same < std::min(first.size(), tokens.size()) && first[same] == tokens[same]) ++same;
    if (same == first.size() && same == tokens.size()) return std::string("yes");
    return fmt::format("for {} of {} tokens", same, first.size());
  });
  return table.text();
}

}  // namespace

std::string inference_table(const JsonRows& rows) {
  std::vector<Json> columns;
  for (const Json& row : rows) {
    if (row.at("kind") == "generation") columns.push_back(row);
  }
  if (columns.empty()) return "no run finished\n";

  std::vector<std::string> head = {
      fmt::format("mean ± deviation of {:g} runs", number(columns[0], "runs"))};
  for (const Json& column : columns) head.push_back(column.at("attention"));
  Table table(std::move(head));
  add_row(table, columns, "implementation",
          [](const Json& row) { return row.at("attention_impl").get<std::string>(); });
  add_row(table, columns,
          fmt::format("first token (prompt of {:g})", number(columns[0], "prompt_tokens")),
          mean_of("prefill_ms", " ms"));
  add_row(table, columns, "each further token", mean_of("token_ms", " ms"));
  add_row(table, columns, "tokens/s", mean_of("tokens_per_s", ""));
  table.add_rule();
  add_row(table, columns, "peak memory",
          [](const Json& row) { return bytes_text(number(row, "peak_total_bytes")); });
  add_row(table, columns, "  of it cache",
          [](const Json& row) { return bytes_text(number(row, "cache_bytes")); });
  add_row(table, columns, "attention's own at most",
          [](const Json& row) { return bytes_text(number(row.at("peak_bytes"), "attention")); });
  add_row(table, columns, "peak memory of the process (RSS)",
          [](const Json& row) { return bytes_text(number(row, "peak_rss_bytes")); });

  std::string text = table.text();
  if (columns.size() > 1) text += "\n" + gains_table(columns);
  for (const Json& column : columns) {
    const std::string& said = column.at("text").get_ref<const std::string&>();
    if (&column != &columns[0] && said == columns[0].at("text")) continue;
    text += fmt::format("\n{}: {}\n", column.at("attention").get<std::string>(), Json(said).dump());
  }
  return text;
}

}  // namespace strobe
