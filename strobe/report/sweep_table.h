#pragma once

#include <string>

#include "strobe/report/sweep_results.h"

namespace strobe {

// What a sweep prints: for each quantity a row for every size, a column for every attention, and
// below how it grows. Where nothing was measured stands why.
std::string sweep_table(const SweepResults& sweep);

}  // namespace strobe
