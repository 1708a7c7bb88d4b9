#include "strobe/report/sweep_results.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/check.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// The field `name`, as T; Error where it is missing or something else.
template <class T>
T field(const Json& row, const char* name) {
  const auto found = row.find(name);
  const bool is_right =
      found != row.end() &&
      (std::is_same_v<T, std::string> ? found->is_string() : found->is_number_integer());
  check(is_right, "a row of kind \"sweep\" has no ",
        std::is_same_v<T, std::string> ? "text" : "whole number", " \"", name, "\"");
  return found->get<T>();
}

}  // namespace

std::optional<double> SweepPoint::of(const SweepQuantity& quantity) const {
  if (!is_measured()) return std::nullopt;
  const auto found = row.find(quantity.field);
  if (found == row.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

const std::vector<SweepQuantity>& SweepResults::quantities() const {
  constexpr auto kMs = SweepUnit::milliseconds;
  static const std::vector<SweepQuantity> training = {
      {"Time of a training step", "step", "step_ms_median", kMs},
      {"Time in attention", "attention", "attention_ms_mean", kMs},
      {"Peak memory", "memory", "peak_total_bytes", SweepUnit::bytes},
      {"Memory of attention", "of att.", "attention_bytes", SweepUnit::bytes}};
  static const std::vector<SweepQuantity> generation = {
      {"Time to the first token", "1st token", "prefill_ms", kMs},
      {"Time of each further token", "token", "token_ms", kMs},
      {"Peak memory", "memory", "peak_total_bytes", SweepUnit::bytes},
      {"Memory of attention", "of att.", "attention_bytes", SweepUnit::bytes}};
  return task == "generate" ? generation : training;
}

SweepResults sweep_results(const JsonRows& rows) {
  SweepResults sweep;
  for (const Json& row : rows) {
    if (row.at("kind") != "sweep") continue;
    sweep.axis = field<std::string>(row, "parameter");
    sweep.task = field<std::string>(row, "task");
    sweep.values.push_back(field<int64_t>(row, "value"));
  }
  std::ranges::sort(sweep.values);
  sweep.values.erase(std::unique(sweep.values.begin(), sweep.values.end()), sweep.values.end());

  for (const Json& row : rows) {
    if (row.at("kind") != "sweep") continue;
    const auto name = field<std::string>(row, "attention");
    auto curve = std::ranges::find(sweep.curves, name, &SweepCurve::attention);
    if (curve == sweep.curves.end()) {
      sweep.curves.push_back({name, {}});
      curve = std::prev(sweep.curves.end());
      for (const int64_t value : sweep.values) curve->points.push_back({.value = value});
    }
    SweepPoint& point =
        *std::ranges::find(curve->points, field<int64_t>(row, "value"), &SweepPoint::value);
    point.ending = field<std::string>(row, "ending");
    point.message = row.value("reason", "");
    point.row = row;
  }
  return sweep;
}

std::string sweep_text(const SweepQuantity& quantity, double value) {
  return quantity.unit == SweepUnit::bytes ? bytes_text(value) : milliseconds_text(value);
}

std::string sweep_ending_text(const std::string& ending) {
  if (ending.empty()) return "–";
  std::string text = ending;
  std::ranges::replace(text, '_', ' ');
  return text;
}

std::optional<double> growth(const SweepCurve& curve, const SweepQuantity& quantity) {
  const SweepPoint *last = nullptr, *before = nullptr;
  for (const SweepPoint& point : curve.points) {
    if (!point.of(quantity)) continue;
    before = last;
    last = &point;
  }
  if (before == nullptr) return std::nullopt;
  const double from = *before->of(quantity), to = *last->of(quantity);
  if (!(from > 0 && to > 0)) return std::nullopt;
  return std::log(to / from) /
         std::log(static_cast<double>(last->value) / static_cast<double>(before->value));
}

}  // namespace strobe
