#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// Draw from the rows of a results file alone, with gnuplot. Return an empty text, or why there are
// no pictures.

// `path`.png and .svg: which keys each query sees under each mask, side by side, and below how far
// each query's output is from that of full attention. From rows of kind "mask" and "mask_pattern".
std::string draw_masks(const JsonRows& rows, const std::string& path);

// `path`.png and .svg: the probabilities that a head gives to the tokens of a text, as a heat map.
// From a row of kind "attention_probabilities".
std::string draw_attention_map(const JsonRows& rows, const std::string& path);

}  // namespace strobe
