#pragma once

// Blocks of one grid that wait for each other. Who is waited for must be running already, or be
// sure to run. One PTX instruction a function, but for the loop.

namespace strobe {

__device__ __forceinline__ int count_acquired(const int* count) {
  int value;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(value) : "l"(count) : "memory");
  return value;
}

// Waits, one thread, until *count is at least `value`; then it sees what others wrote before they
// set it.
__device__ __forceinline__ void wait_for_count(const int* count, int value) {
  while (count_acquired(count) < value) {
  }
}

__device__ __forceinline__ void set_count(int* count, int value) {
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(count), "r"(value) : "memory");
}

}  // namespace strobe
