#include "strobe/core/graph.h"

#include "strobe/core/cuda/runtime.h"

namespace strobe {

void Graph::run(Context& ctx, const std::function<void()>& body) {
  const bool is_recordable = ctx.device().kind == DeviceKind::cuda && !ctx.is_planning();
  // At another top the body may need more memory, which cannot be taken while it is recorded.
  if (was_run_ && top_ != ctx.arena().top()) reset();
  if (!is_recordable || !was_run_) {
    body();
    was_run_ = true;
    top_ = ctx.arena().top();
    return;
  }
  if (graph_ == nullptr) {
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
