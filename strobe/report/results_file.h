#pragma once

#include <string>
#include <vector>

#include "strobe/report/training_run.h"

namespace strobe {

// What a report shows of one results file (docs/results.md). Steps are kept as numbers only, so
// that long runs do not take much memory.
struct ResultsFile {
  std::string path;
  Json provenance;                // the first such row, or null
  std::vector<TrainingRun> runs;  // of a training or a comparison
  JsonRows benches, generations, sweeps, masks, mask_patterns, attention_maps;
  std::vector<std::string> continuations;  // texts so far that no row has summed up

  // What `field` of the provenance row says, as text; empty if it does not.
  std::string said(const char* field) const;
};

// The results files that `paths` name; a folder stands for all *.jsonl files in it and in the
// folders below, by name. Throws Error that names the file when one is missing, empty, malformed
// (with the line), or holds no results of Strobe.
std::vector<ResultsFile> read_results(const std::vector<std::string>& paths);

// A field of a row as a number (NaN if it is none) or as text (empty if it is none).
double number_or_nan(const Json& row, const char* field);
std::string text_or_empty(const Json& row, const char* field);

}  // namespace strobe
