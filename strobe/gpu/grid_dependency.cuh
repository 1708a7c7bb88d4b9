#pragma once

// A kernel that begins while the one before it on the stream is still running (sm_90; Launch
// in strobe/gpu/launch.h). One PTX instruction a function.

namespace strobe {

// From now on the kernel behind may begin: when all blocks have said so, or are over.
__device__ __forceinline__ void let_next_grid_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// Waits until the kernel before is over, and sees what it wrote.
__device__ __forceinline__ void wait_for_grid_before() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

}  // namespace strobe
