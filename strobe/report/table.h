#pragma once

#include <string>
#include <vector>

namespace strobe {

// Text in columns: the first left-aligned, the others right-aligned, a rule under the head.
//   Table table({"", "standard", "flash"});
//   table.add({"step, median", "412 ms", "251 ms"});
//   table.add_rule();
class Table {
 public:
  explicit Table(std::vector<std::string> head);
  // Throws Error unless there is one cell for each column.
  void add(std::vector<std::string> cells);
  void add_rule();
  std::string text() const;  // every line ends with a newline

 private:
  std::vector<std::vector<std::string>> rows_;  // the head first; an empty row is a rule
};

// Columns that UTF-8 text takes on a terminal, every code point counted as one.
size_t display_width(const std::string& text);

}  // namespace strobe
