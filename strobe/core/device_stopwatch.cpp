#include "strobe/core/device_stopwatch.h"

#include <utility>

#include "strobe/core/cuda/runtime.h"

namespace strobe {

DeviceStopwatch::~DeviceStopwatch() {
  for (void* event : events_) cuda::destroy_event(event);
}

void DeviceStopwatch::begin() {
  if (ctx_.device().kind == DeviceKind::cuda) {
    events_.push_back(cuda::record_event(ctx_.stream()));
  } else {
    span_.restart();
  }
}

void DeviceStopwatch::end() {
  if (ctx_.device().kind == DeviceKind::cuda) {
    events_.push_back(cuda::record_event(ctx_.stream()));
  } else {
    ms_.push_back(span_.ms());
  }
}

std::vector<double> DeviceStopwatch::take_ms() {
  for (size_t i = 0; i + 1 < events_.size(); i += 2) {
    ms_.push_back(1e3 * cuda::seconds_between(events_[i], events_[i + 1]));
  }
  for (void* event : std::exchange(events_, {})) cuda::destroy_event(event);
  return std::exchange(ms_, {});
}

}  // namespace strobe
