#pragma once

#include <cstdint>
#include <string_view>

namespace strobe {

enum class ScheduleKind : unsigned char { constant, linear, cosine };

constexpr std::string_view to_text(ScheduleKind kind) {
  constexpr std::string_view names[] = {"constant", "linear", "cosine"};
  return names[static_cast<int>(kind)];
}

// The learning rate over a run of `steps` steps, counted from 1: it rises in `warmup` equal parts
// to `peak`, then stays (constant) or falls towards `floor`, which it would reach at step
// steps + 1.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double peak = 0;
  double floor = 0;
  int64_t warmup = 0;
  int64_t steps = 0;

  double at(int64_t step) const;
};

}  // namespace strobe
