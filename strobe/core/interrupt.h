#pragma once

namespace strobe {

// While it lives, Ctrl-C (SIGINT) and SIGTERM ask for a stop instead of ending the process; a
// second one ends it at once. Long work looks at signal() between its steps. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  int signal() const;  // the signal that came, 0 when none did
  bool requested() const { return signal() != 0; }
};

}  // namespace strobe
