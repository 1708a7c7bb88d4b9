#pragma once

#include <cstdint>

namespace strobe {

// The most physical memory that this process has used so far (VmHWM), in bytes; 0 where the system
// does not say.
int64_t peak_rss_bytes();

}  // namespace strobe
