#include "strobe/report/table.h"

#include <algorithm>

#include "strobe/core/check.h"

namespace strobe {

Table::Table(std::vector<std::string> head) {
  rows_.push_back(std::move(head));
  add_rule();
}

void Table::add(std::vector<std::string> cells) {
  check(cells.size() == rows_[0].size(), "a table row of ", cells.size(), " cells, expected ",
        rows_[0].size());
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

std::string Table::text() const {
  const size_t columns = rows_[0].size();
  std::vector<size_t> widths(columns, 0);
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t c = 0; c < columns; ++c) {
      if (c > 0) line += "  ";
      if (row.empty()) {
        for (size_t i = 0; i < widths[c]; ++i) line += "─";
        continue;
      }
      const std::string padding(widths[c] - display_width(row[c]), ' ');
      line += c == 0 ? row[c] + padding : padding + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

size_t display_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace strobe
