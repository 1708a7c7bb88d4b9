#include "strobe/core/graph.h"

#include "strobe/core/cuda/runtime.h"

namespace strobe {

void Graph::run(Context& ctx, const std::function<void()>& body) {
  const bool is_recordable = ctx.device().kind == DeviceKind::cuda && !ctx.is_planning();
  if (!is_recordable || !was_run_) {
    body();
    was_run_ = true;
    return;
  }
  if (top_ != ctx.arena().top()) reset();
  if (graph_ == nullptr) {
    was_run_ = true;
    top_ = ctx.arena().top();
    cuda::begin_capture(ctx.stream());
    try {
      body();
    } catch (...) {
      cuda::abandon_capture(ctx.stream());
      throw;
    }
    graph_ = cuda::end_capture(ctx.stream());
  }
  cuda::launch_graph(graph_, ctx.stream());
}

void Graph::reset() {
  if (graph_ != nullptr) cuda::destroy_graph(graph_);
  graph_ = nullptr;
  was_run_ = false;
}

}  // namespace strobe
