#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// What `strobe masks` prints: the shapes, and a column for each mask. From rows of kind
// "provenance" and "mask".
std::string mask_table(const JsonRows& rows);

}  // namespace strobe
