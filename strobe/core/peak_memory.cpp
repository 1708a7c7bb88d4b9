#include "strobe/core/peak_memory.h"

#include <array>
#include <fstream>
#include <string>
#include <string_view>

namespace strobe {
namespace {

Json by_category(const std::array<int64_t, kMemoryUses>& bytes) {
  Json json = Json::object();
  for (int i = 0; i < kMemoryUses; ++i) {
    json[std::string(to_text(static_cast<MemoryUse>(i)))] = bytes[static_cast<size_t>(i)];
  }
  return json;
}

// A line "NAME:   123 kB" of a file of the kernel's, in bytes; 0 where there is none.
int64_t read_kilobytes(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  }
  return 0;
}

}  // namespace

int64_t peak_rss_bytes() { return read_kilobytes("/proc/self/status", "VmHWM:"); }

int64_t free_memory_bytes() { return read_kilobytes("/proc/meminfo", "MemAvailable:"); }

void add_peak_memory(Json& row, const MemoryReport& memory) {
  row["peak_total_bytes"] = memory.peak_total_bytes;
  row["peak_bytes"] = by_category(memory.peak_bytes);
  row["at_peak_bytes"] = by_category(memory.at_peak_bytes);
  row["peak_rss_bytes"] = peak_rss_bytes();
}

}  // namespace strobe
