#pragma once

#include <string>

#include "strobe/report/html_messages.h"

namespace strobe {

// Draws compare.png and compare.svg into `folder` from the results file alone, with gnuplot: loss
// curves, step time, peak memory, and what is gained over the first run. Returns an empty text, or
// why there are no pictures (gnuplot or a font is missing, or what
// it complained about).
// In Traditional Chinese they need a font that has it.
std::string draw_comparison(const std::string& results_path, const std::string& folder,
                            Language language = Language::english);

}  // namespace strobe
