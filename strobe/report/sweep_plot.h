#pragma once

#include <string>

#include "strobe/report/sweep_results.h"

namespace strobe {

// Draws `path`.png and .svg with gnuplot: time and memory against size, a curve for each attention,
// crosses where a point ran out of memory or of time, and what a line and a square would look like.
// Returns an empty text, or why there are no pictures.
std::string draw_sweep(const SweepResults& sweep, const std::string& title,
                       const std::string& path);

}  // namespace strobe
