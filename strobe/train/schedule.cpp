#include "strobe/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace strobe {

double Schedule::at(int64_t step) const {
  if (step <= warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
  if (kind == ScheduleKind::constant) return peak;
  const double done = std::min(1.0, static_cast<double>(step - 1 - warmup) /
                                        static_cast<double>(std::max<int64_t>(1, steps - warmup)));
  const double share =
      kind == ScheduleKind::linear ? 1 - done : 0.5 * (1 + std::cos(std::numbers::pi * done));
  return floor + (peak - floor) * share;
}

}  // namespace strobe
