#include "strobe/report/html_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "strobe/core/atomic_file.h"
#include "strobe/core/jsonl.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/html_style.h"

namespace strobe {
namespace {

Markup section_markup(const Section& section, const std::string& id) {
  Markup body = element("h2", section.title);
  if (!section.about.empty()) body += element("p", {{"class", "about"}}, section.about);
  return element("section", {{"id", id}},
                 body + section.tiles + reading_markup(section.reading) + section.body +
                     Markup::literal("\n"));
}

Markup contents(const std::vector<Section>& sections, const Words& say) {
  if (sections.size() < 3) return {};
  Markup items;
  for (size_t i = 0; i < sections.size(); ++i) {
    items +=
        element("li", element("a", {{"href", fmt::format("#part-{}", i + 1)}}, sections[i].title));
  }
  return element("nav", {{"aria-label", say("Contents")}}, element("ul", items));
}

std::string title_of(const std::vector<ResultsFile>& files, const Words& say) {
  return files.size() == 1 && files[0].runs.size() > 1 ? say("Attention compared")
                                                       : say("Strobe’s results");
}

std::vector<Section> sections_of(const std::vector<ResultsFile>& files, const Words& say) {
  Palette palette;
  std::vector<Section> sections;
  const auto add = [&](Section section) {
    if (!section.title.empty()) sections.push_back(std::move(section));
  };
  for (const ResultsFile& file : files) {
    add(training_section(file, say, palette));
    add(sweep_section(file, say, palette));
    add(generation_section(file, say, palette));
    add(mask_section(file, say));
    add(attention_map_section(file, say));
  }
  add(bench_section(files, say, palette));
  add(origin_section(files, say));
  return sections;
}

}  // namespace

size_t Palette::colour_of(const std::string& name) {
  const bool is_ours = name.find("torch") == std::string::npos && !name.starts_with("hf_");
  if (is_ours && name.find("standard") != std::string::npos) return 0;
  if (is_ours && name.find("flash") != std::string::npos) {
    if (!name.starts_with("cuda_")) return 1;
    if (gpu_flash_.empty()) gpu_flash_ = name;
    if (name == gpu_flash_) return 1;
  }
  // Never those two again, nor the grey.
  constexpr size_t kOthers = kChartColours - 3;
  const size_t next = others_.size();
  return others_.try_emplace(name, 2 + next % kOthers + next / kOthers * kChartColours)
      .first->second;
}

Markup reading_markup(const std::vector<Sentence>& reading) {
  if (reading.empty()) return {};
  Markup items;
  for (const Sentence& sentence : reading) {
    items += sentence.is_bad ? element("li", {{"class", "bad"}}, sentence.text)
                             : element("li", sentence.text);
  }
  return element("ul", {{"class", "reading"}}, items);
}

std::string power_text(double value) {
  if (value == 0) return "0";
  if (!std::isfinite(value)) return "–";
  const std::string text = fmt::format("{:.1e}", value);  // "2.0e-08"
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent >= -2 && exponent <= 3) return fmt::format("{:.2g}", value);
  constexpr const char* kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string power = exponent < 0 ? "⁻" : "";
  for (char digit : std::to_string(std::abs(exponent))) power += kDigits[digit - '0'];
  return text.substr(0, e) + "×10" + power;
}

std::string factor_text(double value) {
  return fmt::format("{:.{}f}", value,
                     std::abs(value) < 9.995  ? 2
                     : std::abs(value) < 99.5 ? 1
                                              : 0);
}

std::string html_report(const ReportOptions& options) {
  const std::vector<ResultsFile> files = read_results(options.paths);
  const Words say(options.language);
  const std::vector<Section> sections = sections_of(files, say);
  const std::string title = title_of(files, say);
  const std::string about =
      files.size() == 1 ? files[0].path : say("From {0} results files.", files.size());

  // Nothing is ever loaded or run, whatever a results file may hold.
  Markup head =
      element("meta", Attributes{{"charset", "utf-8"}}) +
      element("meta", {{"http-equiv", "Content-Security-Policy"},
                       {"content", "default-src 'none'; style-src 'unsafe-inline'"}}) +
      element("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}}) +
      element("meta", {{"name", "color-scheme"}, {"content", "light dark"}}) +
      element("title", title + " · Strobe") + report_style();
  Markup body = element("header", element("h1", title) + element("p", {{"class", "about"}}, about) +
                                      contents(sections, say));
  Markup main;
  for (size_t i = 0; i < sections.size(); ++i) {
    main += section_markup(sections[i], fmt::format("part-{}", i + 1));
  }
  body +=
      element("main", main) +
      element("footer", element("p", say("Written by strobe report from the results files "
                                         "alone; sentences and charts are computed from them.")));
  return "<!DOCTYPE html>\n" +
         element("html", {{"lang", std::string(to_text(options.language))}},
                 element("head", head) + Markup::literal("\n") + element("body", body))
             .html() +
         "\n";
}

void write_html_report(const ReportOptions& options) {
  const std::string page = html_report(options);
  const std::filesystem::path folder = std::filesystem::path(options.out).parent_path();
  if (!folder.empty()) create_folder(folder.string());
  AtomicFile file(options.out);
  file.write(std::string_view(page));
  file.commit();
}

}  // namespace strobe
