#pragma once

#include "strobe/cli/compare_child.h"
#include "strobe/cli/compare_options.h"

namespace strobe {

// What a child of `strobe compare` does, and the rows it writes (docs/results.md). They return the
// exit code.

// Trains: rows of kind "provenance", "step" and "summary".
int train_once(const CompareOptions& options, const ChildCall& call, JsonlWriter& rows);

// Continues the prompt several times: rows of kind "provenance" and "inference".
int generate_once(const CompareOptions& options, const ChildCall& call, JsonlWriter& rows);

// Measures every point of options.sweep with every attention, each in a process of its own, and
// writes a row of kind "sweep" for each. Returns what failed for another reason than its size.
std::string measure_sweep(const CompareOptions& options, const std::vector<std::string>& names,
                          const Arguments& arguments, const InterruptGuard& interrupt,
                          JsonlWriter& results);

}  // namespace strobe
