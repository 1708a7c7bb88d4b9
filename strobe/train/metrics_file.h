#pragma once

#include <cstdint>
#include <string>

namespace strobe {

// Takes a run's results file back to what it had when the checkpoint of `step` was saved, so that
// the run can go on and add to it: rows of later steps and of the run's end go, and so does a line
// that was cut off. Nothing happens where there is no such file.
void rewind_metrics(const std::string& path, int64_t step);

}  // namespace strobe
