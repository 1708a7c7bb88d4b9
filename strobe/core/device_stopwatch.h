#pragma once

#include <vector>

#include "strobe/core/clock.h"
#include "strobe/core/context.h"

namespace strobe {

// How long work on a context's device takes, span by span. On a GPU spans lie between events on the
// context's stream: they count the device's time, and nothing waits while they are put there.
class DeviceStopwatch {
 public:
  explicit DeviceStopwatch(Context& ctx) : ctx_(ctx) {}
  ~DeviceStopwatch();
  DeviceStopwatch(const DeviceStopwatch&) = delete;
  DeviceStopwatch& operator=(const DeviceStopwatch&) = delete;

  void begin();
  void end();
  // Of the spans since the last call; waits until they are over.
  std::vector<double> take_ms();

 private:
  Context& ctx_;
  Stopwatch span_;  // of a CPU
  std::vector<double> ms_;
  std::vector<void*> events_;  // of a GPU: begin and end of each span
};

}  // namespace strobe
