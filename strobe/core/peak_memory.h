#pragma once

#include <cstdint>

#include "strobe/core/arena.h"
#include "strobe/core/json.h"

namespace strobe {

// The most physical memory that this process has used so far (VmHWM), in bytes; 0 where the system
// does not say.
int64_t peak_rss_bytes();

// Physical memory that programs can have without pushing others out (MemAvailable), in bytes; 0
// where the system does not say.
int64_t free_memory_bytes();

// Sets the fields of a results row that concern memory: "peak_total_bytes", "peak_bytes" and
// "at_peak_bytes" by category, "peak_rss_bytes".
void add_peak_memory(Json& row, const MemoryReport& memory);

}  // namespace strobe
