#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "strobe/core/arena.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

// What is put into a text: "{0}", "{1}".
std::multiset<std::string> placeholders(std::string_view text) {
  std::multiset<std::string> found;
  for (size_t i = 0; (i = text.find('{', i)) != std::string_view::npos; ++i) {
    found.insert(std::string(text.substr(i, text.find('}', i) + 1 - i)));
  }
  return found;
}

TEST(HtmlMessages, EveryTextIsInBothLanguages) {
  std::set<std::string_view> names;
  for (const Translation& t : kTranslations) {
    EXPECT_FALSE(t.english.empty());
    EXPECT_FALSE(t.traditional_chinese.empty()) << t.english;
    EXPECT_TRUE(names.insert(t.english).second) << "twice: " << t.english;
    const auto unique = [](std::string_view text) {
      const auto all = placeholders(text);
      return std::set<std::string>(all.begin(), all.end());
    };
    EXPECT_EQ(unique(t.english), unique(t.traditional_chinese)) << t.english;
    // Characters that mainland China writes otherwise, and its words for the same things.
    for (const char* other :
         {"内", "线", "数据集", "内存", "默认", "运行", "显示", "进程", "网络"}) {
      EXPECT_EQ(t.traditional_chinese.find(other), std::string_view::npos) << t.english;
    }
  }
}

TEST(HtmlMessages, WordsOfResultsFilesAreKnown) {
  for (int use = 0; use < kMemoryUses; ++use) {
    const std::string_view name = to_text(static_cast<MemoryUse>(use));
    EXPECT_NE(find_translation(name), std::size(kTranslations)) << name;
  }
  const Words say(Language::traditional_chinese);
  EXPECT_EQ(say.word("optimizer"), "最佳化器");
  EXPECT_EQ(say.word("cpu_flash"), "cpu_flash") << "what the table does not know stays";
  EXPECT_EQ(say("{0} cores", 4), "4 核心");
}

TEST(HtmlWriter, EscapesWhateverComes) {
  EXPECT_EQ(escape_html("a<b>&\"c'"), "a&lt;b&gt;&amp;&quot;c&#39;");
  EXPECT_EQ(escape_html("注意力 é"), "注意力 é");
  EXPECT_EQ(escape_html(std::string("\0\x1b[31m\n\t", 8)), "\xef\xbf\xbd\xef\xbf\xbd[31m\n\t");
  // A lone byte, an overlong form, half a surrogate pair, a character cut short.
  for (const char* bytes : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xe6\xb3"}) {
    const std::string escaped = escape_html(bytes);
    EXPECT_EQ(escaped.size(), 3 * std::string(bytes).size()) << "U+FFFD for each byte";
  }
  EXPECT_EQ(element("p", {{"title", "\"><script>"}}, "<b>").html(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;</p>");
  EXPECT_EQ(data(154.786973, "155 ms").html(), "<data value=\"154.786973\">155 ms</data>");
  EXPECT_EQ(Markup::name("cpu_flash").html(), "cpu_<wbr>flash");
  EXPECT_EQ(error_of([] {
              HtmlTable("t", {"", "a"}).add("row", {});
            }),
            "a table row of 1 cells, expected 2");
}

TEST(HtmlAxis, RoundTicks) {
  EXPECT_EQ(Axis(0, 10, false).ticks(5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(Axis(1, 1000, true).ticks(5), (std::vector<double>{1, 10, 100, 1000}));
  EXPECT_EQ(Axis(1, 40, true).ticks(5), (std::vector<double>{1, 2, 5, 10, 20}));
  EXPECT_EQ(Axis(3, 3, false).ticks(5).size(), 7u) << "widened";
  EXPECT_DOUBLE_EQ(Axis(1, 100, true).position(10), 0.5);
  EXPECT_EQ(Axis::with_round_ends(2.3, 5.6).low(), 2);
  EXPECT_EQ(Axis::with_round_ends(2.3, 5.6).high(), 6);
  EXPECT_FALSE(std::signbit(Axis(-0.1, 10, false).ticks(5).front())) << "never \"-0\"";
  EXPECT_EQ(tick_text(120000), "120k");
  EXPECT_EQ(tick_text(16384), "16384");
  EXPECT_EQ(tick_text(1.5e6), "1.5M");
  EXPECT_EQ(tick_text(2.5), "2.5");
  EXPECT_NE(error_of([] { Axis(0, 1, true); }), "");
}

TEST(HtmlAxis, ThinnedCurvesKeepEverySpike) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 100'000; ++i) points.push_back({double(i), std::sin(i * 1e-4)});
  points[54'321].y = 9;
  points[77'777].y = -9;
  points[5].y = std::nan("");
  const std::vector<ChartPoint> thinned = thin(points, 500);
  EXPECT_LE(thinned.size(), 502u);
  EXPECT_EQ(thinned.front().x, 0);
  EXPECT_EQ(thinned.back().x, 99'999);
  EXPECT_TRUE(std::ranges::is_sorted(thinned, {}, &ChartPoint::x));
  for (double spike : {9.0, -9.0}) {
    EXPECT_TRUE(std::ranges::any_of(thinned, [&](const auto& p) { return p.y == spike; }));
  }
  EXPECT_EQ(thin({{1, 1}, {2, 2}}, 500).size(), 2u);
}

TEST(HtmlChart, NothingToDrawIsNoChart) {
  LineChart chart{.title = "t", .series = {{"a", 0, {{1, 0}, {2, -1}}}}, .is_log_y = true};
  EXPECT_TRUE(figure(chart).empty());
  chart.series[0].points = {{1, std::nan("")}};
  chart.is_log_y = false;
  EXPECT_TRUE(figure(chart).empty());
  chart.series[0].points = {{1, 5}};
  EXPECT_NE(figure(chart).html().find("<path"), std::string::npos) << "a single point is one";
}

TEST(HtmlChart, CurvesAreWhereTheValuesAre) {
  LineChart chart{.title = "t<", .series = {{"a", 0, {{0, 0}, {10, 10}}}}};
  const std::string html = figure(chart).html();
  EXPECT_NE(html.find("d=\"M34.0 200.0L348.0 24.0\""), std::string::npos) << html;
  EXPECT_NE(html.find("aria-label=\"t&lt;. "), std::string::npos);
}

TEST(HtmlReport, PowersForPeople) {
  EXPECT_EQ(power_text(2.03e-8), "2.0×10⁻⁸");
  EXPECT_EQ(power_text(0), "0");
  EXPECT_EQ(power_text(0.25), "0.25");
  EXPECT_EQ(power_text(1.2e12), "1.2×10¹²");
  EXPECT_EQ(factor_text(1.809), "1.81");
  EXPECT_EQ(factor_text(12.34), "12.3");
}

}  // namespace
}  // namespace strobe
