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
  // Begins when the kernel before lets it, and waits for that one's results itself
  // (grid_dependency.cuh).
  bool begins_early = false;
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
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream_of(ctx);
  config.attrs = &early;
  config.numAttrs = shape.begins_early ? 1 : 0;
  cuda_check(cudaLaunchKernelEx(&config, kernel,
                                static_cast<Parameters>(std::forward<Arguments>(args))...),
             "launching a kernel");
}

}  // namespace strobe
