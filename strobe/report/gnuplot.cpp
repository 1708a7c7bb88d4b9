#include "strobe/report/gnuplot.h"

#include <fmt/format.h>

#include <array>
#include <sstream>

#include "strobe/core/process.h"

namespace strobe {
namespace {

// Grey axes on the left and below, faint lines for the eye to follow; terminals are noenhanced, so
// that no character of a text is special.
std::string setup(const std::string& terminal, const std::string& output, PictureSize size,
                  const std::string& font) {
  return fmt::format(
      "reset\nset terminal {0} noenhanced size {1},{2} font '{4},15' linewidth 1.2 "
      "background 'white'\nset output {3}\n"
      "set style fill solid noborder\nset style textbox opaque fillcolor rgb 'white' noborder "
      "margins 0.3,0.3\n"
      "set border 3 linecolor rgb '#888888'\nset tics nomirror textcolor rgb '#222222'\n"
      "set xtics scale 0\nset ytics scale 0.5\n"
      "set grid ytics linecolor rgb '#DDDDDD' linetype 1 linewidth 1\n",
      terminal, size.width, size.height, quoted(output), font);
}

}  // namespace

const Colour& colour_of(size_t run) {
  static constexpr std::array<Colour, 5> kColours = {{{"#D55E00", "#F3C7A4"},
                                                      {"#0072B2", "#A4CDE6"},
                                                      {"#009E73", "#A3DCCB"},
                                                      {"#CC79A7", "#EED3E2"},
                                                      {"#E69F00", "#F8DFA9"}}};
  return kColours[run % kColours.size()];
}

std::string quoted(const std::string& text, bool is_format) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c == '%' && is_format) result += '%';
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string picture_font(Language language) {
  if (language == Language::english) return "DejaVu Sans";
  // Fontconfig's own tool: one family on each line, with its names in several languages.
  const auto fonts = run_process({"sh", "-c", "fc-list :lang=zh-tw family | sort -u >&2"},
                                 {.input = {}, .capture_stderr = true, .signal = {}});
  if (!fonts || fonts->exit_code != 0) return "";
  std::string first;
  std::istringstream lines(fonts->error_text);
  for (std::string line; std::getline(lines, line);) {
    const std::string family = line.substr(0, line.find(','));
    if (family.find('\'') != std::string::npos) continue;
    if (family == "Noto Sans CJK TC") return family;
    if (first.empty()) first = family;
  }
  return first;
}

std::string draw_pictures(const std::string& path, PictureSize size, const std::string& script,
                          const std::string& font) {
  const std::string whole = setup("pngcairo", path + ".png", size, font) + script + "set output\n" +
                            setup("svg", path + ".svg", size, font) + script + "set output\n";
  const auto result =
      run_process({"gnuplot"}, {.input = whole, .capture_stderr = true, .signal = {}});
  if (!result) return "no pictures: gnuplot is not installed (Debian: apt install gnuplot-nox)";
  if (result->exit_code != 0) return "no pictures: gnuplot says: " + result->error_text;
  return "";
}

}  // namespace strobe
