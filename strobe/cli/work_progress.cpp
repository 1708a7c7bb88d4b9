#include "strobe/cli/work_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace strobe {

WorkProgress::WorkProgress(std::string label, int64_t total, std::string unit)
    : label_(std::move(label)), unit_(std::move(unit)), total_(total) {}

void WorkProgress::update(int64_t done) {
  constexpr double brief = 0.2;
  done_ = done;
  seconds_ = watch_.seconds();
  if (seconds_ < brief) return;
  if (!line_) line_.emplace();
  line_->update([this](int width) { return text(width); }, done >= total_);
}

std::string WorkProgress::text(int width) const {
  const auto amount = [&](double value) { return short_number(value) + unit_; };
  const auto done = static_cast<double>(done_), total = static_cast<double>(total_);
  const double rate = done / std::max(seconds_, 1e-3);
  std::string numbers = fmt::format("{} of {}  {}/s", amount(done), amount(total), amount(rate));
  numbers += done_ < total_ && rate > 0
                 ? fmt::format("  {} left", short_duration((total - done) / rate))
                 : "  in " + short_duration(seconds_);
  return bar_line(label_, done / std::max(total, 1.0), numbers, width);
}

}  // namespace strobe
