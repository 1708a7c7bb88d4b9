#include "strobe/report/jsonl_reader.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "strobe/core/check.h"

namespace strobe {

JsonRows read_jsonl(const std::string& path) {
  std::ifstream file(path);
  check(file.is_open(), "cannot read ", path, ": ", std::strerror(errno));
  JsonRows rows;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    check(!row.is_discarded(), path, ":", number, " is not JSON: ", line.substr(0, 60));
    check(row.is_object() && row.contains("kind") && row["kind"].is_string(), path, ":", number,
          " is not an object with a text \"kind\": ", line.substr(0, 60));
    rows.push_back(std::move(row));
  }
  check(!file.bad(), "cannot read ", path, ": ", std::strerror(errno));
  return rows;
}

}  // namespace strobe
