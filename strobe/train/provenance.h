#pragma once

#include "strobe/core/device.h"
#include "strobe/core/json.h"

namespace strobe {

// What a result depends on beside its options: Strobe's version and git hash, the date, the device,
// the machine (CPU, instruction set, cores, memory, threads in use; the GPU, its driver and CUDA's
// runtime where that is the device), compiler, build type and libraries.
Json provenance(const Device& device = {});

// The GPU's part of it.
Json gpu_json(const CudaInfo& gpu);

}  // namespace strobe
