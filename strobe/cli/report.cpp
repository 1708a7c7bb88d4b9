#include <filesystem>

#include "strobe/cli/commands.h"
#include "strobe/report/html_report.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string out;
  Language lang = Language::english;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(out, {.name = "out",
                .unit = "FILE",
                .help = "the page; report.html beside the results where it is not given"});
    visit(lang, {.name = "lang", .help = "language of the page"},
          {Language::english, Language::traditional_chinese});
  }
};

std::string page_beside(const fs::path& results) {
  std::error_code error;
  const fs::path folder = fs::is_directory(results, error) ? results : results.parent_path();
  return (folder / "report.html").string();
}

}  // namespace

int report_command(const Arguments& arguments) {
  Options options;
  ReportOptions report;
  OptionParser parser("report",
                      "Writes one HTML page about results files: what was run and on what, tables, "
                      "charts, what the\nfigures say, and how to repeat it. Folders stand for the "
                      "*.jsonl files in them.");
  parser.positional(report.paths, "PATH", "results files, or folders of them");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  report.out = options.out.empty() ? page_beside(report.paths.front()) : options.out;
  report.language = options.lang;
  write_html_report(report);
  fmt::print("report    {}\n", report.out);
  return 0;
}

}  // namespace strobe
