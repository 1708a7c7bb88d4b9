// The section of generated text: rows of kind "generation", and of `strobe bench generate`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/core/statistics.h"
#include "strobe/report/html_chart.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Measured {
  double mean = std::nan(""), std = std::nan("");
};

// "prefill_ms" with "prefill_ms_std", or a list of all that was measured.
Measured measured(const Json& row, const std::string& name) {
  const auto list = row.find(name);
  if (list != row.end() && list->is_array() && !list->empty()) {
    const auto values = list->get<std::vector<double>>();
    return {mean(values), standard_deviation(values)};
  }
  return {number_or_nan(row, name.c_str()), number_or_nan(row, (name + "_std").c_str())};
}

// One attention generating one batch of prompts.
struct Generation {
  std::string attention;
  std::string setting;  // equal for those that can be compared: "bf16, B=1, 64 + 128 tokens"
  Measured prefill_ms, token_ms, tokens_per_s;
  Measured with_prompt;  // tokens per second, the prefill's time included
  double peak_bytes = 0;
  double runs = 0;
  std::string prompt;
  std::string text;  // empty if the row has none
};

// The text of a row, or of its sequences one after the other.
std::string text_of(const Json& row) {
  const auto texts = row.find("texts");
  if (texts == row.end() || !texts->is_array()) return text_or_empty(row, "text");
  std::string all;
  for (const Json& text : *texts) {
    all += (all.empty() ? "" : "\n\n") + (text.is_string() ? text.get<std::string>() : text.dump());
  }
  return all;
}

Generation generation_of(const Json& row, const Words& say) {
  Generation g{.attention = text_or_empty(row, "attention"),
               .setting = text_or_empty(row, "dtype"),
               .prefill_ms = measured(row, "prefill_ms"),
               .token_ms = measured(row, "token_ms"),
               .tokens_per_s = measured(row, "tokens_per_s"),
               .with_prompt = measured(row, "tokens_per_s_with_prompt"),
               .peak_bytes = number_or_nan(row, "peak_total_bytes"),
               .runs = number_or_nan(row, "runs"),
               .prompt = text_or_empty(row, "prompt"),
               .text = text_of(row)};
  if (g.attention.empty()) g.attention = text_or_empty(row, "impl");
  const auto add = [&](const std::string& part) {
    g.setting += (g.setting.empty() ? "" : ", ") + part;
  };
  const bool is_bench = text_or_empty(row, "kind") == "bench";
  if (is_bench && row.contains("n_layer")) add(say("{0} layers", text_or_empty(row, "n_layer")));
  if (row.contains("batch")) add("B=" + text_or_empty(row, "batch"));
  if (row.contains("prompt_tokens")) {
    add(say("{0} + {1} tokens", text_or_empty(row, "prompt_tokens"),
            text_or_empty(row, "new_tokens")));
  }
  if (row.value("cache", Json(true)) == false) add(say("without cache"));
  return g;
}

std::string spread_text(const Measured& m) {
  if (!std::isfinite(m.mean)) return "–";
  const int digits = m.mean < 9.995 ? 2 : m.mean < 99.95 ? 1 : 0;
  if (!std::isfinite(m.std)) return fmt::format("{:.{}f}", m.mean, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", m.mean, digits, m.std, digits);
}

Markup spread_cell(const Measured& m) {
  return std::isfinite(m.mean) ? data(m.mean, spread_text(m)) : Markup::literal("–");
}

// A difference counts when it is larger than both spreads together.
std::string speed_sentence(const Generation& baseline, const Generation& g, const Words& say) {
  const double a = baseline.tokens_per_s.mean, b = g.tokens_per_s.mean;
  const std::string mine = spread_text(g.tokens_per_s);
  const std::string theirs = spread_text(baseline.tokens_per_s);
  if (!(a > 0) || !(b > 0)) {
    return say("The speeds of {0} and {1} cannot be compared.", g.attention, baseline.attention);
  }
  const double spread =
      std::hypot(std::isfinite(g.tokens_per_s.std) ? g.tokens_per_s.std : 0,
                 std::isfinite(baseline.tokens_per_s.std) ? baseline.tokens_per_s.std : 0);
  if (std::abs(a - b) <= std::max(spread, 0.01 * a)) {
    return say(
        "{0} and {1} generated equally fast, to within the spread: {2} and {3} tokens per "
        "second ({4}).",
        g.attention, baseline.attention, mine, theirs, g.setting);
  }
  return b > a ? say("{0} generated {1}× faster than {2}: {3} against {4} tokens per second ({5}).",
                     g.attention, factor_text(b / a), baseline.attention, mine, theirs, g.setting)
               : say("{0} generated {1}× slower than {2}: {3} against {4} tokens per second ({5}).",
                     g.attention, factor_text(a / b), baseline.attention, mine, theirs, g.setting);
}

Sentence text_sentence(const Generation& baseline, const Generation& g, const Words& say) {
  if (g.text == baseline.text) {
    return {say("{0} and {1} wrote the same text.", g.attention, baseline.attention)};
  }
  const auto [mine, theirs] = std::ranges::mismatch(g.text, baseline.text);
  return {say("The texts of {0} and {1} differ from byte {2} on.", g.attention, baseline.attention,
              mine - g.text.begin() + 1)};
}

std::vector<Sentence> generation_reading(const std::vector<Generation>& all, const Words& say) {
  std::vector<Sentence> reading;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto first = std::ranges::find(all, all[i].setting, &Generation::setting);
    if (first - all.begin() == static_cast<std::ptrdiff_t>(i)) {
      const bool is_alone = std::ranges::count(all, all[i].setting, &Generation::setting) == 1;
      if (is_alone) {
        reading.push_back({say("{0} generated {1} tokens per second ({2}).", all[i].attention,
                               spread_text(all[i].tokens_per_s), all[i].setting)});
      }
      continue;
    }
    reading.push_back({speed_sentence(*first, all[i], say)});
    if (!all[i].text.empty() && !first->text.empty()) {
      reading.push_back(text_sentence(*first, all[i], say));
    }
  }
  return reading;
}

Markup generation_table(const std::vector<Generation>& all, const Words& say) {
  HtmlTable table(say("Generation, mean ± standard deviation over runs"),
                  {say("attention"), say("runs"), say("prefill, ms"), say("per token, ms"),
                   say("tokens per second"), say("peak memory")});
  for (const Generation& g : all) {
    table.add(
        g.attention + ", " + g.setting,
        {std::isfinite(g.runs) ? data(g.runs, fmt::format("{}", g.runs)) : Markup::literal("–"),
         spread_cell(g.prefill_ms), spread_cell(g.token_ms), spread_cell(g.tokens_per_s),
         g.peak_bytes > 0 ? data(g.peak_bytes, bytes_text(g.peak_bytes)) : Markup::literal("–")});
  }
  return table.markup();
}

Markup generation_chart(const std::vector<Generation>& all, const std::string& title,
                        const Measured Generation::*value, const char* unit, Palette& palette) {
  BarChart chart{.title = title};
  for (const Generation& g : all) {
    const Measured& m = g.*value;
    if (!std::isfinite(m.mean)) continue;
    chart.bars.push_back({.name = g.attention + ", " + g.setting,
                          .colour = palette.colour_of(g.attention),
                          .value = m.mean,
                          .part = m.mean,
                          .value_text = spread_text(m) + unit});
    chart.description += chart.bars.back().name + ": " + chart.bars.back().value_text + ". ";
  }
  return chart.bars.empty() ? Markup() : figure(chart);
}

// Texts that are equal are shown once.
Markup texts_of(const std::vector<Generation>& all, const Words& say) {
  Markup body;
  std::vector<std::string> shown;
  for (const Generation& g : all) {
    if (g.text.empty() || std::ranges::find(shown, g.text) != shown.end()) continue;
    shown.push_back(g.text);
    std::string names;
    for (const Generation& other : all) {
      if (other.text == g.text && names.find(other.attention) == std::string::npos) {
        names += (names.empty() ? "" : ", ") + other.attention;
      }
    }
    body += element("h3", say("Text by {0}", names));
    if (!g.prompt.empty()) body += element("p", {{"class", "about"}}, say("Prompt: {0}", g.prompt));
    body += element("blockquote", g.text);
  }
  return body;
}

}  // namespace

Section generation_section(const ResultsFile& file, const Words& say, Palette& palette) {
  std::vector<Generation> all;
  for (const Json& row : file.generations) all.push_back(generation_of(row, say));
  for (const Json& row : file.benches) {
    if (text_or_empty(row, "op") == "generate") all.push_back(generation_of(row, say));
  }
  if (all.empty()) return {};
  Section section{.title = say("Generation"),
                  .about = setting_of(file, say),
                  .reading = generation_reading(all, say)};
  const Markup charts =
      generation_chart(all, say("Tokens per second, with the prompt"), &Generation::with_prompt, "",
                       palette) +
      generation_chart(all, say("Time per token"), &Generation::token_ms, " ms", palette) +
      generation_chart(all, say("Time of the prefill"), &Generation::prefill_ms, " ms", palette);
  section.body = element("div", {{"class", "charts"}}, charts) + generation_table(all, say) +
                 texts_of(all, say);
  return section;
}

}  // namespace strobe
