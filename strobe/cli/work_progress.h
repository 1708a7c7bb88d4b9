#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "strobe/core/clock.h"
#include "strobe/core/progress.h"

namespace strobe {

// "encoding [####....]  12.3MB of 45.6MB  31.2MB/s  1s left": how far work is whose amount is
// known. Work that takes no time gets no line.
class WorkProgress {
 public:
  // unit: what short_number() counts, "B" or " tokens".
  WorkProgress(std::string label, int64_t total, std::string unit = "B");
  void update(int64_t done);

 private:
  std::string text(int width) const;

  std::string label_;
  std::string unit_;
  int64_t total_;
  int64_t done_ = 0;
  double seconds_ = 0;
  Stopwatch watch_;
  std::optional<ProgressLine> line_;  // ends first: it may still ask for the text
};

}  // namespace strobe
