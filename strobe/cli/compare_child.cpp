#include "strobe/cli/compare_child.h"

#include <sys/prctl.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <new>

#include "strobe/core/arena.h"
#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/process.h"
#include "strobe/report/jsonl_reader.h"

namespace strobe {
namespace {

constexpr const char* kRunOne = "--run-one";
constexpr size_t kOwnWords = 4;  // kRunOne, the attention, the path, "quiet" or "shown"
constexpr const char* kOutOfMemory = "out_of_memory";

// The last line of what a child wrote to stderr, without the program's name.
std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  text.erase(0, text.rfind('\n') + 1);  // npos + 1 is 0
  constexpr std::string_view kName = "strobe: ";
  return text.starts_with(kName) ? text.substr(kName.size()) : text;
}

const Json* error_row(const std::vector<Json>& rows) {
  for (const Json& row : rows) {
    if (row.at("kind") == "error") return &row;
  }
  return nullptr;
}

}  // namespace

ChildResult run_child(const ChildRun& run, const InterruptGuard& interrupt) {
  Arguments words = {"/proc/self/exe", "compare",     kRunOne,
                     run.attention,    run.rows_path, run.is_quiet ? "quiet" : "shown"};
  words.insert(words.end(), run.words.begin(), run.words.end());
  const Stopwatch watch;
  const auto is_late = [&] { return run.budget_s > 0 && watch.seconds() > run.budget_s; };
  const auto process =
      run_process(words, {.input = {}, .capture_stderr = run.is_quiet, .signal = [&] {
                            return is_late() ? SIGKILL : interrupt.signal();
                          }});
  check(process.has_value(), "cannot start /proc/self/exe: no such file");

  ChildResult result;
  if (std::filesystem::exists(run.rows_path)) {
    result.rows = read_jsonl(run.rows_path);
    std::filesystem::remove(run.rows_path);
  }
  if (process->exit_code == 0) return result;
  const bool is_killed = process->exit_code == 128 + SIGKILL;
  const Json* error = error_row(result.rows);
  if (interrupt.requested()) {
    result.ending = RunEnding::interrupted;
    result.message = "stopped by a signal";
  } else if (is_killed && is_late()) {
    result.ending = RunEnding::too_slow;
    result.message = fmt::format("not done in {:g} s", run.budget_s);
  } else if (is_killed) {
    result.ending = RunEnding::out_of_memory;
    result.message = "killed by the system, as it does when memory runs out";
  } else if (error != nullptr) {
    result.ending =
        error->value("reason", "") == kOutOfMemory ? RunEnding::out_of_memory : RunEnding::failed;
    result.message = error->value("message", "");
  } else {
    result.ending = RunEnding::failed;
    result.message = last_line(process->error_text);
    if (result.message.empty()) {
      result.message = fmt::format("the process ended with code {}", process->exit_code);
    }
  }
  return result;
}

bool is_child_call(const Arguments& arguments) {
  return arguments.size() >= kOwnWords && arguments[0] == kRunOne;
}

ChildCall child_call(const Arguments& arguments) {
  return {.attention = arguments[1],
          .rows_path = arguments[2],
          .is_quiet = arguments[3] == "quiet",
          .words = {arguments.begin() + kOwnWords, arguments.end()}};
}

int run_as_child(const ChildCall& call, const std::function<int(JsonlWriter& rows)>& work) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // a run without its comparison is of no use
  // Where memory runs out, this process goes, not its parent or anybody else's.
  std::ofstream("/proc/self/oom_score_adj") << 1000;
  JsonlWriter rows(call.rows_path);
  const auto write_error = [&](const char* reason, const char* message) {
    rows.write({{"kind", "error"},
                {"attention", call.attention},
                {"reason", reason},
                {"message", message}});
  };
  try {
    return work(rows);
  } catch (const OutOfMemory& error) {
    write_error(kOutOfMemory, error.what());
    throw;
  } catch (const Error& error) {
    write_error("failed", error.what());
    throw;
  } catch (const std::bad_alloc&) {
    write_error(kOutOfMemory, "out of memory: the system refused more");
    throw;
  }
}

}  // namespace strobe
