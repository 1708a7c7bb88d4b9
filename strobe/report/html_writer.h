#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strobe {

using Attributes = std::vector<std::pair<std::string, std::string>>;

// A piece of HTML. Text gets in only escaped, through text(), an attribute's value, or element():
// whatever a results file says, it cannot become markup.
class Markup {
 public:
  Markup() = default;
  // A literal of the source, as it stands.
  template <size_t N>
  static Markup literal(const char (&html)[N]) {
    return Markup(std::string(html, N - 1));
  }
  static Markup text(std::string_view plain);
  // The same for a long name: it may be broken after each underscore.
  static Markup name(std::string_view plain);

  Markup& operator+=(const Markup& other) {
    html_ += other.html_;
    return *this;
  }
  friend Markup operator+(Markup a, const Markup& b) { return a += b; }
  const std::string& html() const { return html_; }
  bool empty() const { return html_.empty(); }

 private:
  friend Markup element(std::string_view, const Attributes&, const Markup&);
  explicit Markup(std::string html) : html_(std::move(html)) {}
  std::string html_;
};

// <tag name="value" …>content</tag>; an element that HTML keeps empty (br, meta) has no end tag.
Markup element(std::string_view tag, const Attributes& attributes, const Markup& content = {});
Markup element(std::string_view tag, const Attributes& attributes, std::string_view plain);
Markup element(std::string_view tag, const Markup& content);
Markup element(std::string_view tag, std::string_view plain);

// <data value="154.786973">155 ms</data>: what is shown, and the number of the file behind it.
Markup data(double value, std::string_view shown);

// Text for HTML: & < > " ' written as references; characters that HTML has no place for (control
// characters, bytes that are not UTF-8) become U+FFFD.
std::string escape_html(std::string_view plain);

// A table: the first cell of a row is its heading.
//   HtmlTable table("Peak memory by run", {"", "standard", "flash"});
//   table.add("peak memory", {data(840430336, "840 MB"), data(173122688, "173 MB")});
class HtmlTable {
 public:
  HtmlTable(std::string_view caption, std::vector<std::string> head);
  // Throws Error unless there is one cell for each column after the first.
  void add(std::string_view name, const std::vector<Markup>& cells, bool is_part = false);
  // A rule above the next row.
  void add_rule() { is_rule_next_ = true; }
  bool empty() const { return body_.empty(); }
  Markup markup() const;

 private:
  std::string caption_;
  std::vector<std::string> head_;
  Markup body_;
  bool is_rule_next_ = false;
};

}  // namespace strobe
