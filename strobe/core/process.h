#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace strobe {

struct ProcessSetting {
  std::string input;            // what it reads on stdin; empty: our own stdin
  bool capture_stderr = false;  // else it is ours
  // Asked every few milliseconds while the program runs: a signal to pass on to it, or 0; the same
  // one is passed on once. The program then has a process group of its own: Ctrl-C reaches it this
  // way only, not twice.
  std::function<int()> signal;
};

// How a program ended.
struct ProcessResult {
  int exit_code = 0;       // 128 + the signal's number if one ended it
  std::string error_text;  // what it wrote to stderr, if that was captured
};

// Runs the program argv[0] (looked up in PATH) and waits. Its stdout is ours. Nothing when there is
// no such program; throws Error when it cannot be started for another reason.
std::optional<ProcessResult> run_process(const std::vector<std::string>& argv,
                                         const ProcessSetting& setting = {});

}  // namespace strobe
