#include "strobe/core/event.h"

#include "strobe/core/cuda/runtime.h"

namespace strobe {

void Event::mark(const Context& ctx) {
  reset();
  if (ctx.device().kind == DeviceKind::cuda && !ctx.is_planning()) {
    event_ = cuda::record_event(ctx.stream());
  }
}

void Event::wait() const {
  if (event_ != nullptr) cuda::wait_for_event(event_);
}

void Event::reset() {
  if (event_ != nullptr) cuda::destroy_event(event_);
  event_ = nullptr;
}

}  // namespace strobe
