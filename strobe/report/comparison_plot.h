#pragma once

#include <string>

namespace strobe {

// Draws compare.png and compare.svg into `folder` from the results file alone, with gnuplot: loss
// curves, step time, peak memory, and what is gained over the first run. Returns an empty text, or
// why there are no pictures (gnuplot is missing, or what it complained about).
std::string draw_comparison(const std::string& results_path, const std::string& folder);

}  // namespace strobe
