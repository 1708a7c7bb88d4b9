#pragma once

#include <string>
#include <vector>

namespace strobe {

// One axis of a chart: values to positions, and where the ticks are.
class Axis {
 public:
  // Over [low, high], widened where that is nothing; a logarithmic one needs low > 0.
  Axis(double low, double high, bool is_log);

  // A linear axis whose ends are ticks.
  static Axis with_round_ends(double low, double high);

  // 0 at the low end, 1 at the high one.
  double position(double value) const;
  // At round values: 1, 2 or 5 times a power of ten; on a logarithmic axis powers of ten, and with
  // few of those the values between. About `wanted` of them, at most twice as many.
  std::vector<double> ticks(int wanted) const;

  double low() const { return low_; }
  double high() const { return high_; }

 private:
  std::vector<double> log_ticks(int wanted) const;

  double low_, high_;
  bool is_log_;
};

// "0", "250", "2.5", "120k", "1.5M", "1e-08".
std::string tick_text(double value);

struct ChartPoint {
  double x = 0, y = 0;
};

// At most about `wanted` of the points, which ascend in x: of each stretch the lowest and the
// highest, so that no spike is lost, and the first and the last of all. Points that are not finite
// are left out.
std::vector<ChartPoint> thin(const std::vector<ChartPoint>& points, size_t wanted);

}  // namespace strobe
