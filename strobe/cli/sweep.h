#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

// What a sweep changes from point to point.
enum class SweepAxis : unsigned char { seq, batch, layers };

constexpr std::string_view to_text(SweepAxis axis) {
  constexpr std::string_view names[] = {"seq", "batch", "layers"};
  return names[static_cast<int>(axis)];
}

struct Sweep {
  SweepAxis axis = SweepAxis::seq;
  std::vector<int64_t> values;  // ascending
};

// "seq=512..8192" (512, doubled until 8192 would be passed) or "batch=1,2,6". Throws UsageError,
// saying what is allowed.
Sweep parse_sweep(const std::string& text);

}  // namespace strobe
