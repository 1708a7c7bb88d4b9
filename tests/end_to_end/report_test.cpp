// `strobe report`, and its page as a browser shows it: headless Chromium, where there is one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "strobe/core/check.h"
#include "strobe/core/process.h"
#include "strobe/core/statistics.h"
#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

// Its path, or an empty text.
std::string find_chromium() {
  std::istringstream folders(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
      if (fs::exists(fs::path(folder) / name)) return (fs::path(folder) / name).string();
    }
  }
  return "";
}

void replace_all(std::string& text, const std::string& what, const std::string& with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
}

// The page in a frame of `width` pixels, measured by a script around it: the page itself has none,
// and would not be allowed one.
std::string measuring_page(std::string report, int width) {
  replace_all(report, "&", "&amp;");
  replace_all(report, "\"", "&quot;");
  std::string page = R"html(<!DOCTYPE html><body><iframe style="border:0;width:WIDTHpx;height:900px"
srcdoc="REPORT"></iframe><pre></pre><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  for (const details of page.querySelectorAll("details")) details.open = true;
  const box = (x) => x.getBoundingClientRect();
  const width = page.documentElement.clientWidth;
  const result = {
    width,
    scrolls_to: page.documentElement.scrollWidth,
    pictures: [...page.querySelectorAll("svg")].map((x) => [box(x).width, box(x).height]),
    unnamed: [...page.querySelectorAll("svg:not([aria-hidden])")]
        .filter((x) => x.getAttribute("role") !== "img" || !x.getAttribute("aria-label")).length,
    too_wide: [...page.querySelectorAll("body *")].filter((x) => box(x).right > width + 1)
        .map((x) => x.tagName + " " + x.textContent.slice(0, 40)),
    small_text: [...page.querySelectorAll("svg text")].map((x) => box(x).height)
        .filter((height) => height < 9).length,
    levels: [...page.querySelectorAll("h1, h2, h3, h4")].map((x) => +x.tagName[1]),
    columns_without_scope: page.querySelectorAll("th:not([scope])").length,
    tables: [...page.querySelectorAll("table")].map((table) => ({
      caption: table.caption.textContent,
      rows: [...table.querySelectorAll("tbody tr")].map((row) => ({
        name: row.querySelector("th").textContent,
        values: [...row.querySelectorAll("data")].map((x) => +x.value),
      })),
    })),
  };
  document.querySelector("iframe").remove();
  document.querySelector("pre").textContent = JSON.stringify(result);
};
</script></body>)html";
  replace_all(page, "WIDTH", fmt::format("{}", width));
  replace_all(page, "REPORT", report);
  return page;
}

// A run of `strobe compare` and one of `strobe masks`, made once for all tests.
class ReportTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const auto run = [](std::vector<std::string> words) {
      const ProgramResult result = run_strobe(words);
      ASSERT_EQ(result.exit_code, 0) << result.error;
    };
    run({"compare", "--n-layer", "1", "--n-embd", "32", "--n-head", "2", "--batch", "2", "--seq",
         "48", "--data", "lab", "--steps", "8", "--warmup", "0", "--out", compared()});
    run({"masks", "--seq", "40", "--window", "8,0", "--out", folder_->path() + "/masks"});
    run({"bench", "attention", "--repeats", "2", "--heads", "2", "--seq", "70", "--head-dim", "32",
         "--json", folder_->path() + "/bench.jsonl"});
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string compared() { return folder_->path() + "/compared"; }
  static std::string results() { return compared() + "/results.jsonl"; }

  // The report of everything, as the browser lays it out.
  static Json measure(const std::string& language, int width) {
    const std::string path = folder_->path() + "/page.html";
    const ProgramResult result =
        run_strobe({"report", folder_->path(), "--lang", language, "--out", path});
    EXPECT_EQ(result.exit_code, 0) << result.error;
    const std::string frame = folder_->file("frame.html", measuring_page(content_of(path), width));
    const std::string dom = folder_->path() + "/dom", log = folder_->path() + "/log";
    // The sandbox needs rights that a test may lack; what is shown is our own page.
    const std::string command = fmt::format(
        "exec timeout 60 '{}' --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
        "--user-data-dir='{}/profile' --enable-logging=stderr --virtual-time-budget=5000 "
        "--window-size=1400,1000 --dump-dom 'file://{}' >'{}' 2>'{}'",
        find_chromium(), folder_->path(), frame, dom, log);
    const auto ended = run_process({"sh", "-c", command});
    EXPECT_TRUE(ended && ended->exit_code == 0) << content_of(log);
    std::istringstream lines(content_of(log));
    for (std::string line; std::getline(lines, line);) {
      EXPECT_EQ(line.find("CONSOLE"), std::string::npos) << line;
    }
    std::string text = content_of(dom);
    const size_t begin = text.rfind("<pre>") + 5, end = text.rfind("</pre>");
    text = text.substr(begin, end - begin);
    for (const auto& [reference, character] :
         {std::pair{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}}) {
      replace_all(text, reference, character);
    }
    return Json::parse(text);
  }

  static void expect_readable(const Json& page) {
    EXPECT_LE(page.at("scrolls_to"), page.at("width"));
    EXPECT_EQ(page.at("too_wide"), Json::array());
    EXPECT_EQ(page.at("small_text"), 0);
    EXPECT_EQ(page.at("unnamed"), 0) << "pictures without a text";
    EXPECT_EQ(page.at("columns_without_scope"), 0);
    EXPECT_GE(page.at("pictures").size(), 9u);
    for (const Json& size : page.at("pictures")) {
      EXPECT_GT(size.at(0), 0);
      EXPECT_GT(size.at(1), 0);
    }
    int level = 0;
    for (const Json& next : page.at("levels")) {
      EXPECT_LE(next.get<int>(), level + 1) << "headings skip no level";
      level = next;
    }
  }

  static inline TemporaryFolder* folder_ = nullptr;
};

// Of one run, straight from its rows.
std::vector<double> values_of(const std::string& path, const std::string& attention,
                              const std::string& field) {
  std::vector<double> values;
  for (const Json& row : rows_of(path, "step")) {
    if (row.at("attention") == attention) values.push_back(row.at(field));
  }
  return values;
}

TEST_F(ReportTest, CompareWritesItBesideTheResults) {
  const std::string page = content_of(compared() + "/report.html");
  EXPECT_NE(page.find("<html lang=\"en\">"), std::string::npos);
  EXPECT_NE(page.find("per step"), std::string::npos);
  for (const char* outside : {"<script", "<img", "<link", "src=", "url(", "http://", "https://"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside << ": the page needs nothing else";
  }
}

TEST_F(ReportTest, NumbersInTheTableAreTheFiles) {
  if (find_chromium().empty()) GTEST_SKIP() << "chromium is not installed";
  std::map<std::string, std::vector<double>> shown;
  const Json page = measure("en", 1200);
  for (const Json& table : page.at("tables")) {
    for (const Json& row : table.at("rows")) {
      shown.try_emplace(row.at("name"), row.at("values").get<std::vector<double>>());
    }
  }
  const std::vector<Json> summaries = rows_of(results(), "summary");
  const Json comparison = rows_of(results(), "comparison").at(0);
  std::vector<double> medians, losses, memory;
  for (const Json& summary : summaries) {
    const std::string name = summary.at("attention");
    std::vector<double> ms = values_of(results(), name, "step_ms");
    ms.erase(ms.begin());
    medians.push_back(median(ms));
    losses.push_back(values_of(results(), name, "loss").back());
    memory.push_back(summary.at("peak_total_bytes"));
  }
  EXPECT_EQ(shown["step time, median"], medians);
  EXPECT_EQ(shown["loss, last step"], losses);
  EXPECT_EQ(shown["peak memory"], memory);
  EXPECT_EQ(shown["speed-up of a step"], std::vector{comparison.at("speedup").get<double>()});
  EXPECT_EQ(shown["memory saved"], std::vector{comparison.at("memory_saved").get<double>()});
  EXPECT_EQ(shown["largest loss difference"],
            std::vector{comparison.at("loss_difference").get<double>()});
  const Json bench = rows_of(folder_->path() + "/bench.jsonl", "bench").at(0);
  EXPECT_EQ(shown["B=1 T=70  " + bench.at("impl").get<std::string>()].at(0),
            bench.at("ms_median").get<double>());
}

TEST_F(ReportTest, FitsAPhoneAndADesk) {
  if (find_chromium().empty()) GTEST_SKIP() << "chromium is not installed";
  for (const int width : {375, 1200}) {
    SCOPED_TRACE(width);
    expect_readable(measure("en", width));
  }
}

TEST_F(ReportTest, FitsInTraditionalChinese) {
  if (find_chromium().empty()) GTEST_SKIP() << "chromium is not installed";
  const Json page = measure("zh-TW", 375);
  expect_readable(page);
  EXPECT_NE(page.dump().find("峰值記憶體"), std::string::npos);
}

TEST_F(ReportTest, MistakesAreOneLine) {
  const auto expect_failure = [](const ProgramResult& result, int exit_code,
                                 const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_EQ(result.out, "");
  };
  const std::string& folder = folder_->path();
  const std::string broken = folder_->file("broken.txt", "{\"kind\":\"step\"\n");
  expect_failure(run_strobe({"report"}), 2, "PATH is required");
  expect_failure(run_strobe({"report", results(), "--lang", "fr"}), 2, "allowed are en|zh-TW");
  expect_failure(run_strobe({"report", folder + "/missing"}), 1, "No such file or directory");
  expect_failure(run_strobe({"report", folder_->file("empty.txt", "")}), 1, "is empty");
  expect_failure(run_strobe({"report", broken}), 1, "broken.txt:1 is not JSON");
  expect_failure(run_strobe({"report", compared() + "/report.html"}), 1, ":1 is not JSON: <!DOC");
  expect_failure(run_strobe({"report", results(), "--out", "/proc/page.html"}), 1, "/proc/page");
  EXPECT_FALSE(fs::exists(folder + "/report.html")) << "nothing is written by a mistake";
}

}  // namespace
}  // namespace strobe::testing
