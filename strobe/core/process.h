#pragma once

#include <optional>
#include <string>
#include <vector>

namespace strobe {

// How a program ended.
struct ProcessResult {
  int exit_code = 0;  // 128 + the signal's number if one ended it
  std::string error_text;  // what it wrote to stderr, if that was captured
};

// Runs the program argv[0] (looked up in PATH), hands it `input` on stdin if given, and waits. Its
// stdout is ours; so is its stderr unless it is captured. Nothing when there is no such program;
// throws Error when it cannot be started for another reason.
std::optional<ProcessResult> run_process(const std::vector<std::string>& argv,
                                         const std::string* input = nullptr,
                                         bool capture_stderr = false);

}  // namespace strobe
