#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// From a row of kind "attention_map": how much attention each token of a text pays to those before
// it, in one head of a model. Throw Error when there is no such row.

// The tokens that each token attends to most.
std::string attention_map_table(const JsonRows& rows);

// Draws `path`.png and .svg with gnuplot: a heat map with the tokens on both axes. Returns an empty
// text, or why there are no pictures.
std::string draw_attention_map(const JsonRows& rows, const std::string& path);

}  // namespace strobe
