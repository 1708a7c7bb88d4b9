#pragma once

namespace strobe {

// threadIdx.x, asked for anew each time: what is computed of it does not stay in registers where
// those are scarce.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

}  // namespace strobe
