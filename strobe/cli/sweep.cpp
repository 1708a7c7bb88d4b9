#include "strobe/cli/sweep.h"

#include <algorithm>

#include "strobe/cli/options.h"
#include "strobe/cli/whole_numbers.h"

namespace strobe {
namespace {

constexpr int64_t kLargest = 1 << 20;
constexpr size_t kMostPoints = 32;

SweepAxis parse_axis(const std::string& name) {
  std::string names;
  for (SweepAxis axis : {SweepAxis::seq, SweepAxis::batch, SweepAxis::layers}) {
    if (name == to_text(axis)) return axis;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_text(axis));
  }
  throw UsageError(fmt::format("--sweep changes '{}', allowed are {}", name, names));
}

std::vector<int64_t> doubled(const std::string& text, size_t dots, int64_t min) {
  const int64_t from = whole_number("--sweep", text.substr(0, dots), min, kLargest);
  const int64_t to = whole_number("--sweep", text.substr(dots + 2), min, kLargest);
  if (from > to) {
    throw UsageError(fmt::format("--sweep has '{}', allowed is FROM..TO with FROM up to TO", text));
  }
  std::vector<int64_t> values;
  for (int64_t value = from; value <= to; value *= 2) values.push_back(value);
  return values;
}

}  // namespace

Sweep parse_sweep(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    throw UsageError(fmt::format(
        "--sweep is '{}', allowed is AXIS=FROM..TO or AXIS=N,N,… such as seq=512..8192", text));
  }
  Sweep sweep;
  sweep.axis = parse_axis(text.substr(0, equals));
  const int64_t min = sweep.axis == SweepAxis::seq ? 2 : 1;
  const std::string list = text.substr(equals + 1);
  const size_t dots = list.find("..");
  sweep.values = dots == std::string::npos ? whole_numbers("--sweep", list, min, kLargest)
                                           : doubled(list, dots, min);
  std::ranges::sort(sweep.values);
  if (std::ranges::adjacent_find(sweep.values) != sweep.values.end()) {
    throw UsageError(fmt::format("--sweep '{}' has a value twice", text));
  }
  if (sweep.values.size() > kMostPoints) {
    throw UsageError(fmt::format("--sweep '{}' has {} points, allowed are up to {}", text,
                                 sweep.values.size(), kMostPoints));
  }
  return sweep;
}

}  // namespace strobe
