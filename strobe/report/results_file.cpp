#include "strobe/report/results_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

bool is_training_kind(const std::string& kind) {
  return kind == "step" || kind == "validation" || kind == "summary" || kind == "error";
}

// `strobe generate` writes a row for each text, then one about all of them: together one
// generation.
void add_continuation(ResultsFile& file, Json&& row) {
  if (row["kind"] == "continuation") {
    file.continuations.push_back(text_or_empty(row, "prompt") + text_or_empty(row, "text"));
    return;
  }
  row["texts"] = std::exchange(file.continuations, {});
  file.generations.push_back(std::move(row));
}

// Whether a row of this kind is known.
bool add_row(ResultsFile& file, Json&& row) {
  const std::string kind = row["kind"];
  if (kind == "provenance") {
    add_training_row(file.runs, row);
    if (file.provenance.is_null()) file.provenance = std::move(row);
    return true;
  }
  if (is_training_kind(kind)) {
    if (row.contains("attention")) add_training_row(file.runs, row);
    return true;
  }
  if (kind == "continuation" || kind == "continuation_summary") {
    add_continuation(file, std::move(row));
    return true;
  }
  const std::pair<const char*, JsonRows*> places[] = {{"bench", &file.benches},
                                                      {"generation", &file.generations},
                                                      {"sweep", &file.sweeps},
                                                      {"mask", &file.masks},
                                                      {"mask_pattern", &file.mask_patterns},
                                                      {"attention_map", &file.attention_maps}};
  for (const auto& [name, rows] : places) {
    if (kind != name) continue;
    rows->push_back(std::move(row));
    return true;
  }
  return kind == "comparison";  // computed again from the steps
}

ResultsFile read_file(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  check(status.type() == fs::file_type::not_found || fs::is_regular_file(status), "'", path,
        "' is not a file");
  ResultsFile file{.path = path};
  std::set<std::string> foreign;
  size_t rows = 0, known = 0;
  visit_jsonl(path, [&](Json&& row) {
    ++rows;
    const std::string kind = row["kind"];
    if (add_row(file, std::move(row))) {
      ++known;
    } else if (foreign.size() < 3) {
      foreign.insert(kind);
    }
  });
  check(rows > 0, path, " is empty: it has no row");
  std::string kinds;
  for (const std::string& kind : foreign) kinds += (kinds.empty() ? "\"" : ", \"") + kind + "\"";
  check(known > 0, path, " holds no results of Strobe: its rows are of kind ", kinds);
  return file;
}

std::vector<std::string> results_in(const std::string& folder) {
  std::vector<std::string> paths;
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file() && entry.path().extension() == ".jsonl") {
        paths.push_back(entry.path().string());
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw_error(fmt::format("cannot read {}: {}", folder, error.code().message()));
  }
  check(!paths.empty(), folder,
        " holds no .jsonl file; `strobe compare`, `strobe train` and `strobe bench --json` "
        "write them");
  std::ranges::sort(paths);
  return paths;
}

}  // namespace

std::string ResultsFile::said(const char* field) const {
  return provenance.is_null() ? "" : text_or_empty(provenance, field);
}

std::vector<ResultsFile> read_results(const std::vector<std::string>& paths) {
  check(!paths.empty(), "no results file is named");
  std::vector<ResultsFile> files;
  for (const std::string& path : paths) {
    std::error_code error;
    const auto whole = fs::is_directory(path, error) ? results_in(path) : std::vector{path};
    for (const std::string& file : whole) files.push_back(read_file(file));
  }
  return files;
}

double number_or_nan(const Json& row, const char* field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_number() ? found->get<double>() : std::nan("");
}

std::string text_or_empty(const Json& row, const char* field) {
  const auto found = row.find(field);
  if (found == row.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

}  // namespace strobe
