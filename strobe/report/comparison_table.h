#pragma once

#include <string>
#include <vector>

#include "strobe/report/training_run.h"

namespace strobe {

// What `strobe compare` prints: a column for each run that finished a step, then what each of the
// others gains over the first.
std::string comparison_table(const std::vector<TrainingRun>& runs);

}  // namespace strobe
