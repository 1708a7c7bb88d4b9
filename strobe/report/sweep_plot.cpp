#include "strobe/report/sweep_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "strobe/report/gnuplot.h"

namespace strobe {
namespace {

// Sizes and values that span less are easier to read on plain axes.
constexpr double kSpanForLogarithms = 4;

double in_units(const SweepQuantity& quantity, double value) {
  return quantity.unit == SweepUnit::bytes ? value / 1e6 : value;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool has_values() const { return high > 0; }
};

// One chart: the axes first, then what is drawn.
class Panel {
 public:
  Panel(const SweepResults& sweep, const SweepQuantity& quantity)
      : sweep_(sweep), quantity_(quantity) {
    for (const int64_t value : sweep.values) x_.add(static_cast<double>(value));
    for (const SweepCurve& curve : sweep.curves) {
      for (const SweepPoint& point : curve.points) {
        const auto value = point.of(quantity);
        if (value && *value > 0) y_.add(in_units(quantity, *value));
      }
    }
    is_log_ = x_.high / x_.low >= kSpanForLogarithms;
  }

  std::string script() {
    if (!y_.has_values()) {
      return head() + "set xrange [0:1]\nset yrange [0:1]\nplot NaN notitle\n";
    }
    std::string text = head() + axes();
    std::string plots;
    const auto add = [&](const std::string& plot) { plots += (plots.empty() ? "" : ", ") + plot; };
    // The guides are drawn first, below the curves, and named last.
    if (is_log_) {
      for (const int exponent : {1, 2}) add(guide(exponent, "notitle"));
    }
    for (size_t c = 0; c < sweep_.curves.size(); ++c) {
      const std::string points = points_of(sweep_.curves[c]);
      if (!points.empty()) {
        text += fmt::format("$curve{} << END\n{}END\n", c, points);
        add(
            fmt::format("$curve{} using 1:2 with linespoints linewidth 3 pointtype 7 pointsize 1.2 "
                        "linecolor rgb '{}' title {}",
                        c, colour_of(c).strong, quoted(sweep_.curves[c].attention)));
        text += last_value(c);
      }
      text += crosses(c);
    }
    if (is_log_) {
      add(guide(1, "title 'grows like the size'"));
      add(guide(2, "title 'grows like its square'"));
    }
    return text + (is_log_ ? "plot sample " : "plot ") + plots + "\n";
  }

 private:
  std::string head() const {
    return fmt::format(
        "unset label\nunset logscale\nset title {} font 'DejaVu Sans:Bold,17' offset 0,0.4\n"
        "set ylabel '{}'\nset xlabel {}\nset key top left Left reverse samplen 2 opaque\n",
        quoted(quantity_.name), quantity_.unit == SweepUnit::bytes ? "MB" : "ms",
        quoted(axis_name()));
  }

  const char* axis_name() const {
    if (sweep_.axis == "seq") {
      return sweep_.task == "generate" ? "tokens of the prompt" : "tokens of a sequence";
    }
    return sweep_.axis == "batch" ? "sequences in a batch" : "layers of the model";
  }

  std::string axes() {
    std::string tics;
    for (const int64_t value : sweep_.values) {
      tics += fmt::format("{}\"{}\" {}", tics.empty() ? "" : ", ", value, value);
    }
    std::string text = fmt::format("set xtics ({})\n", tics);
    if (is_log_) {
      // The crosses and the key lie in the upper part.
      const double room = std::pow(std::max(y_.high / y_.low, 10.0), 0.55);
      const double low = y_.low / 2, high = y_.high * room;
      return text + fmt::format(
                        "set logscale xy\nset xrange [{:.9g}:{:.9g}]\nset yrange "
                        "[{:.9g}:{:.9g}]\nset ytics ({})\n",
                        x_.low / 1.2, x_.high * 1.6, low, high, ytics(low, high));
    }
    const double margin = std::max((x_.high - x_.low) * 0.08, 0.5);
    return text + fmt::format("set xrange [{:.9g}:{:.9g}]\nset yrange [0:{:.9g}]\nset ytics auto\n",
                              x_.low - margin, x_.high + 1.6 * margin, y_.high * 1.5);
  }

  // A faint line that starts below the lowest point.
  std::string guide(int exponent, const char* title) const {
    return fmt::format(
        "[{0:.9g}:{1:.9g}] {2:.9g}*(x/{0:.9g})**{3} with lines linewidth 1.5 dashtype {4} "
        "linecolor rgb '#999999' {5}",
        x_.low, x_.high, y_.low / 1.25, exponent, exponent == 1 ? 3 : 2, title);
  }

  // 1, 2, 5, 10, …, or where that would be many, powers of ten.
  static std::string ytics(double low, double high) {
    constexpr double kFewDecades = 2.5;
    const bool is_short = std::log10(high / low) < kFewDecades;
    std::string text;
    for (int power = static_cast<int>(std::floor(std::log10(low))); std::pow(10, power) <= high;
         ++power) {
      for (const int step : {1, 2, 5}) {
        const double value = step * std::pow(10, power);
        if (value < low || value > high || (step > 1 && !is_short)) continue;
        text += fmt::format("{}\"{:.6g}\" {:.9g}", text.empty() ? "" : ", ", value, value);
      }
    }
    return text;
  }

  std::string points_of(const SweepCurve& curve) const {
    std::string text;
    for (const SweepPoint& point : curve.points) {
      const auto value = point.of(quantity_);
      if (value && (*value > 0 || !is_log_)) {
        text += fmt::format("{} {:.9g}\n", point.value, in_units(quantity_, *value));
      }
    }
    return text;
  }

  // The largest size's value, above the highest curve there and below the lowest one; between them
  // would be no room.
  std::string last_value(size_t c) const {
    const auto& points = sweep_.curves[c].points;
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
      const auto value = point->of(quantity_);
      if (!value || *value <= 0) continue;
      const auto [below, above] = others_at(c, *value, point->value);
      if (below > 0 && above > 0) return "";
      return fmt::format("set label {} at {},{:.9g} center offset 0,{} textcolor rgb '{}' front\n",
                         quoted(sweep_text(quantity_, *value)), point->value,
                         in_units(quantity_, *value), above == 0 ? 0.9 : -0.9, colour_of(c).strong);
    }
    return "";
  }

  // How many other curves are lower and higher there; of equal ones the first is the higher.
  std::pair<int, int> others_at(size_t c, double value, int64_t size) const {
    int below = 0, above = 0;
    for (size_t other = 0; other < sweep_.curves.size(); ++other) {
      if (other == c) continue;
      for (const SweepPoint& point : sweep_.curves[other].points) {
        const auto theirs = point.of(quantity_);
        if (point.value != size || !theirs) continue;
        const bool is_higher = *theirs > value || (*theirs == value && other < c);
        ++(is_higher ? above : below);
      }
    }
    return {below, above};
  }

  // Where a point was not measured: a cross, and why, in the curve's colour.
  std::string crosses(size_t c) const {
    std::string text;
    for (const SweepPoint& point : sweep_.curves[c].points) {
      if (point.is_measured() || point.ending.empty()) continue;
      text += fmt::format(
          "set label \"✕ {}\" at first {},graph {:.3f} center textcolor rgb '{}' font ',13'\n",
          sweep_ending_text(point.ending), point.value, 0.94 - 0.06 * static_cast<double>(c),
          colour_of(c).strong);
    }
    return text;
  }

  const SweepResults& sweep_;
  const SweepQuantity& quantity_;
  Range x_, y_;
  bool is_log_ = false;
};

}  // namespace

std::string draw_sweep(const SweepResults& sweep, const std::string& title,
                       const std::string& path) {
  const auto is_measured = [](const SweepCurve& curve) {
    return std::ranges::any_of(curve.points, &SweepPoint::is_measured);
  };
  if (std::ranges::none_of(sweep.curves, is_measured)) {
    return "no pictures: no point was measured";
  }
  std::string script = fmt::format(
      "set multiplot layout 2,2 title {} font ',19' margins 0.075,0.975,0.075,0.865 spacing "
      "0.09,0.155\nset xtics scale 0.5\n",
      quoted(title));
  for (const SweepQuantity& quantity : sweep.quantities()) {
    script += Panel(sweep, quantity).script();
  }
  return draw_pictures(path, {1600, 1160}, script + "unset multiplot\n");
}

}  // namespace strobe
