#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// Draws `path`.png and .svg with gnuplot, from the rows of a results file alone: which keys each
// query sees under each mask, side by side, and below how far each query's output is from that of
// full attention. From rows of kind "mask" and "mask_pattern". Returns an empty text, or why there
// are no pictures.
std::string draw_masks(const JsonRows& rows, const std::string& path);

}  // namespace strobe
