#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/core/progress.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// Closer than this, times are the same.
constexpr double kSameTime = 0.02;
constexpr double kSameMemory = 0.0005;

// How far apart the losses of two right computations may be, as a share of the loss: at the first
// step, where only rounding differs, and later, when training has amplified that.
struct Rounding {
  double first, later;
};

// False for a type that the row does not name.
bool find_rounding(const std::string& dtype, Rounding& rounding) {
  if (dtype == "f32") rounding = {1e-6, 1e-4};
  if (dtype == "bf16" || dtype == "f16") rounding = {1e-2, 5e-2};
  return dtype == "f32" || dtype == "bf16" || dtype == "f16";
}

std::string dtype_of(const ResultsFile& file) {
  const auto options =
      file.provenance.is_null() ? Json() : file.provenance.value("options", Json());
  return options.is_object() ? text_or_empty(options, "dtype") : "";
}

// The names of --attention of a comparison that left no row.
std::vector<std::string> missing_runs(const ResultsFile& file) {
  std::vector<std::string> missing;
  if (file.said("command") != "compare") return missing;
  const Json options = file.provenance.value("options", Json::object());
  std::string names = options.is_object() ? text_or_empty(options, "attention") : "";
  while (!names.empty()) {
    const size_t comma = std::min(names.find(','), names.size());
    const std::string name = names.substr(0, comma);
    const bool is_there = std::ranges::any_of(
        file.runs, [&](const TrainingRun& run) { return run.attention == name; });
    if (!is_there && !name.empty()) missing.push_back(name);
    names.erase(0, comma + 1);
  }
  return missing;
}

void add_endings(std::vector<Sentence>& reading, const ResultsFile& file, const Words& say) {
  for (const TrainingRun& run : file.runs) {
    const size_t steps = run.losses.size();
    if (run.ending == "finished") continue;
    if (run.ending == "interrupted") {
      reading.push_back({say("{0} was interrupted: {1}. Its figures are of the steps until then.",
                             run.attention, run.error),
                         true});
    } else if (run.ending.empty()) {
      reading.push_back({say("The record of {0} ends after {1} steps without a closing row: the "
                             "run was killed, or is still going on.",
                             run.attention, steps),
                         true});
    } else {
      reading.push_back(
          {say("{0} failed after {1} steps: {2}.", run.attention, steps, run.error), true});
    }
  }
  for (const std::string& name : missing_runs(file)) {
    reading.push_back({say("{0} was asked for and left no row: it did not begin.", name), true});
  }
}

std::string speed_sentence(const TrainingRun& baseline, const TrainingRun& run, const Words& say) {
  const RunSummary a = summarize(baseline), b = summarize(run);
  const double speedup = a.step_ms_median / b.step_ms_median;
  const std::string mine = milliseconds_text(b.step_ms_median);
  const std::string theirs = milliseconds_text(a.step_ms_median);
  if (!std::isfinite(speedup) || speedup <= 0) {
    return say("The step times of {0} and {1} cannot be compared.", run.attention,
               baseline.attention);
  }
  if (std::abs(speedup - 1) < kSameTime) {
    return say("{0} and {1} took the same time per step, to within {2}: {3} and {4}.",
               run.attention, baseline.attention, percent_text(kSameTime), mine, theirs);
  }
  const bool overlaps = a.step_ms_p10 <= b.step_ms_p90 && b.step_ms_p10 <= a.step_ms_p90;
  std::string text =
      speedup > 1 ? say("{0} was {1}× faster per step than {2}: {3} against {4}.", run.attention,
                        factor_text(speedup), baseline.attention, mine, theirs)
                  : say("{0} was {1}× slower per step than {2}: {3} against {4}.", run.attention,
                        factor_text(1 / speedup), baseline.attention, mine, theirs);
  if (overlaps) {
    text +=
        say(" The times of single steps overlap, though (the middle 80%: {0} to {1} and {2} to "
            "{3}), so that another try may give another ratio.",
            milliseconds_text(b.step_ms_p10), milliseconds_text(b.step_ms_p90),
            milliseconds_text(a.step_ms_p10), milliseconds_text(a.step_ms_p90));
  }
  return text;
}

void add_attention(std::vector<Sentence>& reading, const TrainingRun& baseline,
                   const TrainingRun& run, const Words& say) {
  const RunSummary a = summarize(baseline), b = summarize(run);
  if (!(a.attention_ms_mean > 0) || !(b.attention_ms_mean > 0)) return;
  reading.push_back(
      {say("Attention itself took {0} of a step with {1} ({2} of the time) and {3} with {4} ({5}).",
           milliseconds_text(b.attention_ms_mean), run.attention, percent_text(b.attention_share),
           milliseconds_text(a.attention_ms_mean), baseline.attention,
           percent_text(a.attention_share))});
}

double attention_bytes(const TrainingRun& run) {
  const auto found = run.at_peak_bytes.find("attention");
  return found == run.at_peak_bytes.end() ? 0 : found->second;
}

std::string memory_sentence(const TrainingRun& baseline, const TrainingRun& run, const Words& say) {
  for (const TrainingRun* one : {&run, &baseline}) {
    if (!(one->peak_total_bytes > 0)) {
      return say("The peak memory of {0} is not on record.", one->attention);
    }
  }
  const double saved = 1 - run.peak_total_bytes / baseline.peak_total_bytes;
  const std::string mine = bytes_text(run.peak_total_bytes);
  const std::string theirs = bytes_text(baseline.peak_total_bytes);
  if (std::abs(saved) < kSameMemory) {
    return say("Both needed the same memory at the peak, {0}.", mine);
  }
  std::string text = saved > 0 ? say("{0} needed {1} less memory at the peak: {2} against {3}.",
                                     run.attention, percent_text(saved), mine, theirs)
                               : say("{0} needed {1} more memory at the peak: {2} against {3}.",
                                     run.attention, percent_text(-saved), mine, theirs);
  const double part = attention_bytes(run), their_part = attention_bytes(baseline);
  if (part > 0 && their_part > 0) {
    text += say(" Of that, attention took {0} and {1}.", bytes_text(part), bytes_text(their_part));
  }
  return text;
}

Sentence loss_sentence(const TrainingRun& baseline, const TrainingRun& run,
                       const std::string& dtype, const Words& say) {
  const Gains g = compare_runs(baseline, run);
  const size_t steps = std::min(baseline.losses.size(), run.losses.size());
  const std::string& name = run.attention;
  const std::string& other = baseline.attention;
  if (g.loss_difference == 0) {
    return {say("The losses of {0} and {1} are the same numbers at all of {2} steps.", name, other,
                steps)};
  }
  const std::string worst = power_text(g.loss_difference_relative);
  Rounding rounding{};
  if (!std::isfinite(g.loss_difference_relative)) {
    return {say("The losses of {0} and {1} cannot be compared.", name, other), true};
  }
  if (!find_rounding(dtype, rounding)) {
    return {say("The losses of {0} and {1} differ by at most {2}, which is {3} of the loss.", name,
                other, power_text(g.loss_difference), worst)};
  }
  if (g.first_loss_difference_relative > rounding.first) {
    return {say("The losses of {0} and {1} differ at the first step already, by {2} of the loss: "
                "more than rounding in {3} explains. One of the two computes something else.",
                name, other, power_text(g.first_loss_difference_relative), dtype),
            true};
  }
  if (g.loss_difference_relative > rounding.later) {
    return {say("The losses of {0} and {1} agree at the first step and part later, by up to {2} of "
                "the loss. Training amplifies rounding, but this is more than is usual in {3}.",
                name, other, worst, dtype),
            true};
  }
  return {
      say("The losses of {0} and {1} differ by at most {2} ({3} of the loss) over {4} steps, "
          "which is rounding in {5}.",
          name, other, power_text(g.loss_difference), worst, steps, dtype)};
}

std::string learning_sentence(const TrainingRun& run, const Words& say) {
  const double first = run.losses.front(), last = run.losses.back();
  const std::string from = fmt::format("{:.3f}", first), to = fmt::format("{:.3f}", last);
  if (run.losses.size() == 1) return say("The loss of {0} was {1}.", run.attention, to);
  if (from == to) {
    return say("The loss of {0} was {1} at the first step and at the last.", run.attention, to);
  }
  return last < first ? say("The loss of {0} fell from {1} to {2} in {3} steps.", run.attention,
                            from, to, run.losses.size())
                      : say("The loss of {0} rose from {1} to {2} in {3} steps.", run.attention,
                            from, to, run.losses.size());
}

void add_alone(std::vector<Sentence>& reading, const TrainingRun& run, const Words& say) {
  const RunSummary s = summarize(run);
  reading.push_back({say("A step of {0} took {1}, {2} tokens per second.", run.attention,
                         milliseconds_text(s.step_ms_median), short_number(s.tokens_per_s))});
  if (s.attention_ms_mean > 0) {
    reading.push_back({say("Attention was {0} of the time.", percent_text(s.attention_share))});
  }
  if (run.peak_total_bytes > 0) {
    const double part = attention_bytes(run);
    reading.push_back({say("At the peak it needed {0} of memory, {1} of that for attention.",
                           bytes_text(run.peak_total_bytes), bytes_text(part))});
  }
}

Markup tile(const std::string& name, const Markup& figure, const std::string& detail) {
  return element("div", element("dt", name) + element("dd", figure) + element("dd", detail));
}

Markup alone_tiles(const TrainingRun& run, const Words& say) {
  const RunSummary s = summarize(run);
  Markup tiles = tile(say("step time, median"),
                      data(s.step_ms_median, milliseconds_text(s.step_ms_median)), run.attention);
  tiles += tile(say("speed"), data(s.tokens_per_s, short_number(s.tokens_per_s)),
                say("tokens per second"));
  tiles += tile(say("loss, last step"), data(s.loss_final, fmt::format("{:.4f}", s.loss_final)),
                say("after {0} steps", s.steps));
  if (run.peak_total_bytes > 0) {
    tiles += tile(say("peak memory"), data(run.peak_total_bytes, bytes_text(run.peak_total_bytes)),
                  say("in tensors"));
  }
  return tiles;
}

std::string against(const std::string& mine, const std::string& theirs, const Words& say) {
  return say("{0} against {1}", mine, theirs);
}

Markup pair_tiles(const TrainingRun& baseline, const TrainingRun& run, const Words& say) {
  const Gains g = compare_runs(baseline, run);
  const RunSummary a = summarize(baseline), b = summarize(run);
  Markup tiles;
  if (std::isfinite(g.speedup) && g.speedup > 0) {
    const std::string text = g.speedup >= 1 ? say("{0}× faster", factor_text(g.speedup))
                                            : say("{0}× slower", factor_text(1 / g.speedup));
    tiles += tile(
        say("step time with {0}", run.attention), data(g.speedup, text),
        against(milliseconds_text(b.step_ms_median), milliseconds_text(a.step_ms_median), say));
  }
  if (run.peak_total_bytes > 0 && baseline.peak_total_bytes > 0) {
    const std::string text = std::abs(g.memory_saved) < kSameMemory ? say("the same")
                             : g.memory_saved > 0 ? say("{0} less", percent_text(g.memory_saved))
                                                  : say("{0} more", percent_text(-g.memory_saved));
    tiles +=
        tile(say("peak memory with {0}", run.attention), data(g.memory_saved, text),
             against(bytes_text(run.peak_total_bytes), bytes_text(baseline.peak_total_bytes), say));
  }
  if (std::isfinite(g.loss_difference)) {
    tiles +=
        tile(say("largest loss difference"), data(g.loss_difference, power_text(g.loss_difference)),
             say("{0} of the loss", power_text(g.loss_difference_relative)));
  }
  return tiles;
}

// The first run with steps is what the others are compared with.
std::vector<const TrainingRun*> with_steps(const ResultsFile& file) {
  std::vector<const TrainingRun*> runs;
  for (const TrainingRun& run : file.runs) {
    if (run.has_steps()) runs.push_back(&run);
  }
  return runs;
}

}  // namespace

std::vector<Sentence> training_reading(const ResultsFile& file, const Words& say) {
  std::vector<Sentence> reading;
  const std::vector<const TrainingRun*> runs = with_steps(file);
  if (runs.size() == 1) add_alone(reading, *runs[0], say);
  for (size_t i = 1; i < runs.size(); ++i) {
    reading.push_back({speed_sentence(*runs[0], *runs[i], say)});
    add_attention(reading, *runs[0], *runs[i], say);
    reading.push_back({memory_sentence(*runs[0], *runs[i], say)});
    reading.push_back(loss_sentence(*runs[0], *runs[i], dtype_of(file), say));
  }
  if (!runs.empty()) {
    reading.push_back({learning_sentence(*runs[0], say)});
    if (std::ranges::any_of(runs, [](const auto* run) { return run->losses.size() == 1; })) {
      reading.push_back({say("A single step includes the warm-up: its time says little.")});
    }
  }
  add_endings(reading, file, say);
  if (runs.empty()) reading.push_back({say("No run finished a step."), true});
  return reading;
}

Markup training_tiles(const ResultsFile& file, const Words& say) {
  const std::vector<const TrainingRun*> runs = with_steps(file);
  if (runs.empty()) return {};
  if (runs.size() == 1) return element("dl", {{"class", "tiles"}}, alone_tiles(*runs[0], say));
  const auto* fastest = *std::min_element(runs.begin() + 1, runs.end(), [](auto* a, auto* b) {
    return summarize(*a).step_ms_median < summarize(*b).step_ms_median;
  });
  return element("dl", {{"class", "tiles"}}, pair_tiles(*runs[0], *fastest, say));
}

}  // namespace strobe
