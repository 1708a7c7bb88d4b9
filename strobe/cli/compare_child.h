#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/cli/options.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/json.h"
#include "strobe/core/jsonl.h"

namespace strobe {

// Each run of a comparison has a process of its own, so that no run's memory or warm caches count
// for another, and none that runs out of memory takes the others with it.

enum class RunEnding : unsigned char { measured, out_of_memory, too_slow, failed, interrupted };

constexpr std::string_view to_text(RunEnding ending) {
  constexpr std::string_view names[] = {"finished", "out_of_memory", "too_slow", "failed",
                                        "interrupted"};
  return names[static_cast<int>(ending)];
}

struct ChildRun {
  std::string attention;
  Arguments words;        // of `strobe compare`: the user's own, then those of this run
  std::string rows_path;  // where it writes; read and removed afterwards
  double budget_s = 0;    // then it is killed; 0: never
  bool is_quiet = false;  // no progress, and what it complains about is kept for `message`
};

struct ChildResult {
  RunEnding ending = RunEnding::measured;
  std::string message;     // why it was not measured
  std::vector<Json> rows;  // what it wrote
};

// The parent's side: runs the child, and waits. An interrupt is passed on to it.
ChildResult run_child(const ChildRun& run, const InterruptGuard& interrupt);

// The child's side: what its first words, which no user types, say.
struct ChildCall {
  std::string attention, rows_path;
  bool is_quiet = false;
  Arguments words;
};
bool is_child_call(const Arguments& arguments);
ChildCall child_call(const Arguments& arguments);

// Calls work(rows); an error that leaves it becomes a row, "reason" says whether memory was short.
int run_as_child(const ChildCall& call, const std::function<int(JsonlWriter& rows)>& work);

}  // namespace strobe
