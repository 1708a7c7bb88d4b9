#pragma once

#include <string>
#include <vector>

#include "strobe/core/json.h"

namespace strobe {

using JsonRows = std::vector<Json>;

// The rows of a JSONL file: one JSON object on each line, empty lines skipped. Throws an Error that
// names file and line when the file cannot be read or a line is not an object with a text "kind".
JsonRows read_jsonl(const std::string& path);

}  // namespace strobe
