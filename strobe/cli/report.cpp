#include <algorithm>
#include <filesystem>

#include "strobe/cli/commands.h"
#include "strobe/core/check.h"
#include "strobe/report/comparison_plot.h"
#include "strobe/report/html_report.h"
#include "strobe/report/results_file.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string out;
  Language lang = Language::english;
  bool pictures = false;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(out, {.name = "out",
                .unit = "FILE",
                .help = "the page; report.html beside the results where it is not given"});
    visit(lang, {.name = "lang", .help = "language of the page"},
          {Language::english, Language::traditional_chinese});
    visit(pictures, {.name = "pictures",
                     .help = "beside the page also compare.png and compare.svg, drawn by gnuplot, "
                             "of the first training or comparison"});
  }
};

std::string page_beside(const fs::path& results) {
  std::error_code error;
  const fs::path folder = fs::is_directory(results, error) ? results : results.parent_path();
  return (folder / "report.html").string();
}

void draw_pictures_beside(const ReportOptions& report) {
  const std::string folder = fs::path(report.out).parent_path().string();
  const std::string here = folder.empty() ? "." : folder;
  for (const ResultsFile& file : read_results(report.paths)) {
    if (std::ranges::none_of(file.runs, &TrainingRun::has_steps)) continue;
    const std::string problem = draw_comparison(file.path, here, report.language);
    check(problem.empty(), problem);
    fmt::print("pictures  {0}/compare.png  {0}/compare.svg\n", here);
    return;
  }
  throw_error("no pictures: no run of these files finished a step");
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
  if (options.pictures) draw_pictures_beside(report);
  return 0;
}

}  // namespace strobe
