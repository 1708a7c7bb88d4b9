#pragma once

#include <cstdint>
#include <type_traits>

namespace strobe {

// Threads that ops use; at first one for each core this process may run on, or OMP_NUM_THREADS.
int thread_count();
void set_thread_count(int threads);  // throws Error unless in 1 … 1024

namespace parallel_internal {
void run_team(void (*body)(const void* state, int thread, int threads), const void* state);
void run_dynamic(int64_t count, void (*body)(const void* state, int64_t index, int thread),
                 const void* state);
void with_team_at_hand(void (*body)(const void* state), const void* state);
}  // namespace parallel_internal

// Calls body(thread, threads) once on each of `threads` threads, and waits for all. The first
// exception that leaves a body is thrown again here. A loop inside a body is refused with an Error.
template <class Body>
void parallel_team(const Body& body) {
  parallel_internal::run_team(
      [](const void* state, int thread, int threads) {
        (*static_cast<const Body*>(state))(thread, threads);
      },
      &body);
}

// Calls body() here while the other threads of a team stand by: the parallel loops inside it begin
// and end within a microsecond or so. Without it, each has to wake threads that may be asleep. For
// many short loops, one after the other, such as those of one decoded token. Libraries that bring
// their own OpenMP loops, as oneDNN does, get this thread alone.
template <class Body>
void with_team_at_hand(const Body& body) {
  parallel_internal::with_team_at_hand(
      [](const void* state) { (*static_cast<const Body*>(state))(); }, &body);
}

// Calls body(index, thread) for every index in [0, count), each once, whichever thread is free
// next takes the next index. The result must not depend on which thread runs an index.
template <class Body>
void parallel_for_dynamic(int64_t count, const Body& body) {
  parallel_internal::run_dynamic(
      count,
      [](const void* state, int64_t index, int thread) {
        (*static_cast<const Body*>(state))(index, thread);
      },
      &body);
}

// Calls body(begin, end) with [0, count) cut into one contiguous range for each thread, all but the
// last a multiple of `grain`: so no two threads share a cache line of a well-chosen grain.
template <class Body>
void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  if (count <= grain) {
    if (count > 0) body(int64_t{0}, count);
    return;
  }
  parallel_team([&](int thread, int threads) {
    const int64_t grains = (count + grain - 1) / grain;
    const int64_t begin = grains * thread / threads * grain;
    const int64_t end = grains * (thread + 1) / threads * grain;
    if (begin < count && begin < end) body(begin, end < count ? end : count);
  });
}

}  // namespace strobe
