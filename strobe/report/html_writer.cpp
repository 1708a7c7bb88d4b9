#include "strobe/report/html_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "strobe/core/check.h"

namespace strobe {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// How many bytes the UTF-8 character at the front takes; 0 if there is no whole one.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t length = lead < 0x80                    ? 1
                        : lead >= 0xc2 && lead < 0xe0  ? 2
                        : lead >= 0xe0 && lead < 0xf0  ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (length < 3) return length;
  const unsigned second = byte(1);
  const bool is_overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool is_no_character = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return is_overlong || is_no_character ? 0 : length;
}

std::string_view reference(char c) {
  switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return {};
  }
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
}

bool is_void(std::string_view tag) {
  constexpr std::array<std::string_view, 3> kVoid = {"br", "meta", "hr"};
  return std::ranges::find(kVoid, tag) != kVoid.end();
}

}  // namespace

std::string escape_html(std::string_view plain) {
  std::string html;
  html.reserve(plain.size());
  while (!plain.empty()) {
    const size_t length = character_length(plain);
    if (length == 0 || (length == 1 && is_control(plain[0]))) {
      html += kReplacement;
    } else if (const std::string_view name = reference(plain[0]); !name.empty()) {
      html += name;
    } else {
      html += plain.substr(0, length);
    }
    plain.remove_prefix(std::max<size_t>(length, 1));
  }
  return html;
}

Markup Markup::text(std::string_view plain) { return Markup(escape_html(plain)); }

Markup Markup::name(std::string_view plain) {
  Markup whole;
  while (!plain.empty()) {
    const size_t end = std::min(plain.find('_'), plain.size() - 1) + 1;
    whole += text(plain.substr(0, end));
    plain.remove_prefix(end);
    if (!plain.empty()) whole += literal("<wbr>");
  }
  return whole;
}

Markup element(std::string_view tag, const Attributes& attributes, const Markup& content) {
  std::string html = fmt::format("<{}", tag);
  for (const auto& [name, value] : attributes) {
    html += fmt::format(" {}=\"{}\"", name, escape_html(value));
  }
  html += ">";
  if (!is_void(tag)) html += fmt::format("{}</{}>", content.html(), tag);
  return Markup(std::move(html));
}

Markup element(std::string_view tag, const Attributes& attributes, std::string_view plain) {
  return element(tag, attributes, Markup::text(plain));
}

Markup element(std::string_view tag, const Markup& content) {
  return element(tag, Attributes{}, content);
}

Markup element(std::string_view tag, std::string_view plain) {
  return element(tag, Markup::text(plain));
}

Markup data(double value, std::string_view shown) {
  return element("data", {{"value", fmt::format("{}", value)}}, shown);
}

HtmlTable::HtmlTable(std::string_view caption, std::vector<std::string> head)
    : caption_(caption), head_(std::move(head)) {}

void HtmlTable::add(std::string_view name, const std::vector<Markup>& cells, bool is_part) {
  check(cells.size() + 1 == head_.size(), "a table row of ", cells.size() + 1, " cells, expected ",
        head_.size());
  Markup row = element("th", {{"scope", "row"}, {"role", "rowheader"}}, name);
  for (size_t i = 0; i < cells.size(); ++i) {
    row += element("td", {{"role", "cell"}, {"data-label", head_[i + 1]}}, cells[i]);
  }
  Attributes attributes = {{"role", "row"}};
  if (is_part || is_rule_next_) {
    attributes.emplace_back("class", is_part ? "part" : "rule");
  }
  is_rule_next_ = false;
  body_ += element("tr", attributes, row) + Markup::literal("\n");
}

// Narrow screens show the rows of a wide table as blocks (html_style.cpp), which takes a table's
// meaning away from its elements: hence the roles.
Markup HtmlTable::markup() const {
  Markup head;
  for (const std::string& name : head_) {
    head += name.empty() ? element("td", Attributes{{"role", "cell"}})
                         : element("th", {{"scope", "col"}, {"role", "columnheader"}}, name);
  }
  constexpr size_t kNarrowColumns = 3;
  return element(
      "table", {{"role", "table"}, {"class", head_.size() > kNarrowColumns ? "wide" : "narrow"}},
      element("caption", caption_) +
          element("thead", {{"role", "rowgroup"}}, element("tr", {{"role", "row"}}, head)) +
          element("tbody", {{"role", "rowgroup"}}, body_));
}

}  // namespace strobe
