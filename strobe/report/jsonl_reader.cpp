#include "strobe/report/jsonl_reader.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "strobe/core/check.h"

namespace strobe {

namespace {

// A row of 100,000 numbers has a megabyte; a file with longer lines is something else.
constexpr size_t kLongestLine = size_t{64} << 20;

// std::getline with a limit, so that no file, whatever it is, takes all the memory.
bool read_line(std::istream& file, std::string& line, const std::string& path, int64_t number) {
  line.clear();
  std::streambuf& bytes = *file.rdbuf();
  for (int c = bytes.sbumpc(); c != std::char_traits<char>::eof(); c = bytes.sbumpc()) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
    check(line.size() <= kLongestLine, path, ":", number, " has a line of more than ",
          kLongestLine >> 20, " MiB; a results file has one JSON object on each line");
  }
  return !line.empty();
}

// The beginning of a line for a message: a file of another kind may hold anything.
std::string shown(const std::string& line) {
  std::string text = line.substr(0, 60);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace

JsonRows read_jsonl(const std::string& path) {
  JsonRows rows;
  visit_jsonl(path, [&](Json&& row) { rows.push_back(std::move(row)); });
  return rows;
}

void visit_jsonl(const std::string& path, const std::function<void(Json&& row)>& visit) {
  std::ifstream file(path);
  check(file.is_open(), "cannot read ", path, ": ", std::strerror(errno));
  int64_t number = 1;
  for (std::string line; read_line(file, line, path, number); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    check(!row.is_discarded(), path, ":", number, " is not JSON: ", shown(line));
    check(row.is_object() && row.contains("kind") && row["kind"].is_string(), path, ":", number,
          " is not an object with a text \"kind\": ", shown(line));
    try {
      visit(std::move(row));
    } catch (const Error& error) {
      throw Error(fmt::format("{}:{}: {}", path, number, error.what()), error.where());
    } catch (const Json::exception& error) {
      throw_error(fmt::format("{}:{}: {}", path, number, error.what()));
    }
  }
}

}  // namespace strobe
