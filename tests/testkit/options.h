#pragma once

#include <cstdint>
#include <string>

#include "strobe/core/device.h"

namespace strobe::testing {

// What a test program was asked for beside GoogleTest's own flags; main.cpp fills it in.
//   --case "b=2 tq=113 … seed=17"   run one case only, as a failure printed it
//   --impl cpu_flash_avx2           of one implementation only
//   --seed N                        draw the random cases from another seed (default 1)
//   --cases N                       how many random cases (default: the test's own number)
//   --seconds N                     how long a test draws case after case (default: its own time)
//   --device cuda                   of the implementations for GPUs, on GPU memory (default: cpu)
struct Options {
  std::string only_case;
  std::string only_impl;
  uint64_t seed = 1;
  int64_t cases = 0;
  double seconds = 0;
  Device device;
};
Options& options();

// One `key=value` of a case line; throws Error when a key is missing.
std::string value_in_case(const std::string& line, const std::string& key);

}  // namespace strobe::testing
