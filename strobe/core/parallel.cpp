#include "strobe/core/parallel.h"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

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

// One turn of a loop that waits for another thread.
void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits for `value` to leave `old`: for a moment without giving way, then giving way to whoever
// wants the core, at last asleep.
void wait_while(const std::atomic<int>& value, int old) {
  constexpr int kPauses = 300, kYields = 300;
  for (int i = 0; i < kPauses; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  value.wait(old, std::memory_order_acquire);
}

// The threads of a team between one loop and the next of with_team_at_hand().
class Standby {
 public:
  // Stores that the other threads' first loads see, also in the thread sanitizer's eyes.
  Standby() {
    round_.store(0, std::memory_order_release);
    busy_.store(0, std::memory_order_release);
  }

  // The caller's side. Without a team: the end, after which nobody touches this any more.
  void begin(int threads) { threads_ = threads; }
  void run(Team* team) {
    team_ = team;
    busy_.store(threads_ - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    if (team != nullptr) team->run(0, threads_);
    for (int busy = busy_.load(std::memory_order_acquire); busy != 0;
         busy = busy_.load(std::memory_order_acquire)) {
      wait_while(busy_, busy);
    }
  }

  // The other threads' side, until the end.
  void stand_by(int thread) {
    bool is_end = false;
    for (int round = 0; !is_end; ++round) {
      wait_while(round_, round);
      is_end = team_ == nullptr;
      if (!is_end) team_->run(thread, threads_);
      busy_.fetch_sub(1, std::memory_order_acq_rel);
      busy_.notify_one();
    }
  }

 private:
  int threads_ = 1;
  Team* team_ = nullptr;
  alignas(64) std::atomic<int> round_;
  alignas(64) std::atomic<int> busy_;
};

thread_local Standby* at_hand = nullptr;

// Reads of `standby` and `body` by the outlined region precede its first atomic operation, hence
// the attribute.
__attribute__((no_sanitize("thread"))) void fork_standby(Standby* standby, int threads,
                                                         void (*body)(const void*),
                                                         const void* state, FirstException* first) {
#pragma omp parallel num_threads(threads)
  if (omp_get_thread_num() != 0) {
    standby->stand_by(omp_get_thread_num());
  } else {
    standby->begin(omp_get_num_threads());
    at_hand = standby;
    try {
      body(state);
    } catch (...) {
      first->keep();
    }
    at_hand = nullptr;
    standby->run(nullptr);
  }
}

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
  } else if (at_hand != nullptr) {
    at_hand->run(&team);
  } else {
    team.sync.fork();
    fork_team(&team, threads);
    team.sync.join();
  }
  team.first.rethrow();
}

void with_team_at_hand(void (*body)(const void*), const void* state) {
  check(!inside_team, "a parallel loop was started inside another one's body");
  const int threads = thread_count();
  if (threads == 1 || at_hand != nullptr) return body(state);
  Standby standby;
  FirstException first;
  fork_standby(&standby, threads, body, state, &first);
  first.rethrow();
}

void run_dynamic(int64_t count, void (*body)(const void*, int64_t, int), const void* state) {
  std::atomic<int64_t> next = 0;
  parallel_team([&](int thread, int) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(state, i, thread);
  });
}

}  // namespace parallel_internal
}  // namespace strobe
