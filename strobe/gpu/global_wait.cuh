#pragma once

// Blocks of one grid that wait for each other. Who is waited for must be running already, or be
// sure to run.

namespace strobe {

// Waits, one thread, until *count is at least `value`; then it sees what others wrote before they
// counted, each of them after a __threadfence().
__device__ __forceinline__ void wait_for_count(const int* count, int value) {
  constexpr unsigned kNanoseconds = 64;
  while (*static_cast<const volatile int*>(count) < value) __nanosleep(kNanoseconds);
  __threadfence();
}

}  // namespace strobe
