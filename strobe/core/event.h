#pragma once

#include "strobe/core/context.h"

namespace strobe {

// A mark in the order of a context's stream: wait() returns once the device has done what was put
// on the stream before mark(). On a CPU that is at once.
class Event {
 public:
  Event() = default;
  ~Event() { reset(); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void mark(const Context& ctx);
  void wait() const;  // returns at once without a mark

 private:
  void reset();

  void* event_ = nullptr;
};

}  // namespace strobe
