#include "strobe/core/peak_memory.h"

#include <array>
#include <fstream>
#include <string>

namespace strobe {
namespace {

Json by_category(const std::array<int64_t, kMemoryUses>& bytes) {
  Json json = Json::object();
  for (int i = 0; i < kMemoryUses; ++i) {
    json[std::string(to_text(static_cast<MemoryUse>(i)))] = bytes[static_cast<size_t>(i)];
  }
  return json;
}

}  // namespace

int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;  // given in kB
  }
  return 0;
}

void add_peak_memory(Json& row, const MemoryReport& memory) {
  row["peak_total_bytes"] = memory.peak_total_bytes;
  row["peak_bytes"] = by_category(memory.peak_bytes);
  row["at_peak_bytes"] = by_category(memory.at_peak_bytes);
  row["peak_rss_bytes"] = peak_rss_bytes();
}

}  // namespace strobe
