#pragma once

#include <functional>

#include "strobe/core/context.h"

namespace strobe {

// Launches that are issued again and again with one call. On a CPU run() calls the body each time.
// On a GPU it does so the first time, so that ops can measure and keep what they need; the second
// time the body is recorded, and from then on replayed without being called. So it must do the same
// each time, on the same memory: what changes from run to run, it reads from tensors. Nothing in it
// may wait for the device. What lies in the arena above its present top is overwritten.
class Graph {
 public:
  Graph() = default;
  ~Graph() { reset(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Begins anew, unrecorded, where the arena's top is another than the time before.
  void run(Context& ctx, const std::function<void()>& body);
  void reset();
  bool is_recorded() const { return graph_ != nullptr; }

 private:
  void* graph_ = nullptr;
  const void* top_ = nullptr;
  bool was_run_ = false;
};

}  // namespace strobe
