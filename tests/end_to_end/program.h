#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "strobe/core/json.h"
#include "tests/testkit/files.h"

namespace strobe::testing {

// What a run of the program left behind.
struct ProgramResult {
  int exit_code = -1;  // 128 + the signal's number if one ended it
  std::string out, error;
};

struct ProgramSetting {
  std::vector<std::string> environment;      // "NAME=value", in addition to the test's own
  std::function<void(pid_t)> while_it_runs;  // called once it has started
};

// Runs the built program `strobe` with these arguments, stdin empty, and waits.
ProgramResult run_strobe(const std::vector<std::string>& arguments,
                         const ProgramSetting& setting = {});

// Whether there can be pictures here.
bool has_gnuplot();

// The whole lines of a JSONL file so far; none if there is no such file.
std::vector<Json> read_rows(const std::string& path);
// Those of one kind.
std::vector<Json> rows_of(const std::string& path, const std::string& kind);

}  // namespace strobe::testing
