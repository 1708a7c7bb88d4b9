#pragma once

#include <string>
#include <vector>

#include "strobe/report/html_messages.h"

namespace strobe {

struct ReportOptions {
  std::vector<std::string> paths;  // results files, or folders of them
  std::string out;                 // the page; folders are made where missing
  Language language = Language::english;
};

// Writes one HTML page about what the results files say, and from nothing else: a reading in plain
// words, tables, charts, where it comes from and how to repeat it. The page needs no other file, no
// network and no scripts. Throws Error when a file is missing, empty, malformed or holds no results
// of Strobe, or the page cannot be written.
void write_html_report(const ReportOptions& options);

// The page itself.
std::string html_report(const ReportOptions& options);

}  // namespace strobe
