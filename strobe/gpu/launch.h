#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "strobe/core/context.h"
#include "strobe/core/cuda/check.h"

namespace strobe {

struct Launch {
  dim3 grid{1};
  dim3 block{1};
  int shared_bytes = 0;  // dynamic shared memory
};

inline cudaStream_t stream_of(const Context& ctx) {
  return static_cast<cudaStream_t>(ctx.stream());
}

// kernel<<<grid, block, shared_bytes>>>(args…) on the context's stream. A grid without blocks is no
// launch, and a context that is planning launches nothing. More than 48 KiB of dynamic shared
// memory is asked for here.
template <class... Parameters, class... Arguments>
void launch(Context& ctx, void (*kernel)(Parameters...), const Launch& shape, Arguments&&... args) {
  constexpr int kAlwaysAllowed = 48 << 10;
  if (ctx.is_planning() || shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.shared_bytes > kAlwaysAllowed) {
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    shape.shared_bytes),
               "asking for shared memory");
  }
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream_of(ctx)>>>(
      static_cast<Parameters>(std::forward<Arguments>(args))...);
  cuda_check(cudaGetLastError(), "launching a kernel");
}

}  // namespace strobe
