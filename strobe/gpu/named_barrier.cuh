#pragma once

// Barriers of some of a block's warps. Number 0 is __syncthreads(); `threads` counts those that
// arrive and those that wait.

namespace strobe {

__device__ __forceinline__ void barrier_arrive(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

__device__ __forceinline__ void barrier_wait(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

}  // namespace strobe
