#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "strobe/core/json.h"

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

// A new empty folder; removed with all that is in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

// The whole lines of a JSONL file so far; none if there is no such file.
std::vector<Json> read_rows(const std::string& path);
// Those of one kind.
std::vector<Json> rows_of(const std::string& path, const std::string& kind);

}  // namespace strobe::testing
