#pragma once

#include <functional>
#include <string>
#include <vector>

#include "strobe/core/json.h"

namespace strobe {

using JsonRows = std::vector<Json>;

// The rows of a JSONL file: one JSON object on each line, empty lines skipped. Throws an Error that
// names file and line when the file cannot be read or a line is not an object with a text "kind".
JsonRows read_jsonl(const std::string& path);
// The same row by row, for files that need not fit in memory; what `visit` throws (a row that lacks
// a field) becomes an Error that names file and line.
void visit_jsonl(const std::string& path, const std::function<void(Json&& row)>& visit);

}  // namespace strobe
