#pragma once

#include <string>
#include <utility>
#include <vector>

#include "strobe/report/html_messages.h"
#include "strobe/report/results_file.h"

namespace strobe {

// One implementation's time on one problem.
struct BenchTiming {
  const Json* row;
  std::string impl;
  double ms = 0;
};

// What was timed, in all but the implementation.
struct BenchProblem {
  std::string title;  // shared by the problems of one chart: "attention, forward, f32, causal, …"
  double batch = 0, length = 0;  // 0: it has none
  bool operator<(const BenchProblem& other) const {
    return std::tie(title, length, batch) < std::tie(other.title, other.length, other.batch);
  }
};

// The timings of one title, by problem.
using BenchGroup = std::vector<std::pair<BenchProblem, std::vector<BenchTiming>>>;

// Those of all files together, in the order in which their titles come.
std::vector<BenchGroup> bench_groups(const std::vector<ResultsFile>& files, const Words& say);

// Whether a row was measured on a GPU.
bool is_gpu_row(const Json& row);

}  // namespace strobe
