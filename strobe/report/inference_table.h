#pragma once

#include <string>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// What `strobe compare --task generate` prints: a column for each attention, then what each of the
// others gains over the first, and the text. From rows of kind "generation".
std::string inference_table(const JsonRows& rows);

}  // namespace strobe
