#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// Draws `path`.png and .svg with gnuplot: times with their deviations, and memory, a bar for each
// attention. From rows of kind "generation". Returns an empty text, or why there are no pictures.
std::string draw_inference(const JsonRows& rows, const std::string& title, const std::string& path);

}  // namespace strobe
