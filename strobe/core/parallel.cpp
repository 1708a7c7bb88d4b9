#include "strobe/core/parallel.h"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "strobe/core/check.h"
#include "strobe/core/device.h"

namespace strobe {
namespace {

int initial_thread_count() {
  return std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : cpu_info().cores;
}

std::atomic<int> threads_in_use = 0;  // 0: not asked yet

// libgomp's fork and join are invisible to the thread sanitizer. These atomics repeat them in a
// form that it understands: what the caller wrote happens before the bodies, and the bodies before
// the return.
struct TeamSync {
  std::atomic<int> forked{0};
  std::atomic<int> joined{0};
  void fork() { forked.store(1, std::memory_order_release); }
  void enter() { forked.load(std::memory_order_acquire); }
  void leave() { joined.fetch_add(1, std::memory_order_acq_rel); }
  void join() { joined.load(std::memory_order_acquire); }
};

// An exception must not leave a parallel region: the first one is kept and thrown after it.
struct FirstException {
  std::mutex mutex;
  std::exception_ptr exception;
  void keep() {
    const std::lock_guard lock(mutex);
    if (!exception) exception = std::current_exception();
  }
  void rethrow() const {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace

int thread_count() {
  if (threads_in_use == 0) set_thread_count(initial_thread_count());
  return threads_in_use;
}

void set_thread_count(int threads) {
  check(threads >= 1 && threads <= 1024, "threads is ", threads, ", allowed is 1 to 1024");
  threads_in_use = threads;
  omp_set_num_threads(threads);  // oneDNN runs on the same threads
}

namespace parallel_internal {
namespace {

thread_local bool inside_team = false;

struct Team {
  void (*body)(const void* state, int thread, int threads);
  const void* state;
  TeamSync sync;
  FirstException first;

  void run(int thread, int threads) {
    sync.enter();
    inside_team = true;
    try {
      body(state, thread, threads);
    } catch (...) {
      first.keep();
    }
    inside_team = false;
    sync.leave();
  }
};

// Reads of `team` by the outlined region precede sync.enter(), hence the attribute.
__attribute__((no_sanitize("thread"))) void fork_team(Team* team, int threads) {
#pragma omp parallel num_threads(threads)
  team->run(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace

void run_team(void (*body)(const void*, int, int), const void* state) {
  check(!inside_team, "a parallel loop was started inside another one's body");
  const int threads = thread_count();
  Team team{.body = body, .state = state, .sync = {}, .first = {}};
  if (threads == 1) {
    team.run(0, 1);
  } else {
    team.sync.fork();
    fork_team(&team, threads);
    team.sync.join();
  }
  team.first.rethrow();
}

void run_dynamic(int64_t count, void (*body)(const void*, int64_t, int), const void* state) {
  std::atomic<int64_t> next = 0;
  parallel_team([&](int thread, int) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(state, i, thread);
  });
}

}  // namespace parallel_internal
}  // namespace strobe
