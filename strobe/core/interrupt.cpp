#include "strobe/core/interrupt.h"

#include <atomic>
#include <csignal>

namespace strobe {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

std::atomic<int> received = 0;  // lock-free, so a handler may set it
static_assert(std::atomic<int>::is_always_lock_free);
struct sigaction previous[2];

void receive(int signal) { received = signal; }

}  // namespace

InterruptGuard::InterruptGuard() {
  received = 0;
  struct sigaction action = {};
  action.sa_handler = receive;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &action, &previous[i]);
}

InterruptGuard::~InterruptGuard() {
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

int InterruptGuard::signal() const { return received; }

}  // namespace strobe
