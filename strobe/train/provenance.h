#pragma once

#include "strobe/core/json.h"

namespace strobe {

// What a result depends on beside its options: Strobe's version and git hash, the date, the machine
// (CPU, instruction set, cores, memory, threads in use), compiler, build type and libraries.
Json provenance();

}  // namespace strobe
