#include "strobe/core/peak_memory.h"

#include <fstream>
#include <string>

namespace strobe {

int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;  // given in kB
  }
  return 0;
}

}  // namespace strobe
