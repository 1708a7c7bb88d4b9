#pragma once

#include <string>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "strobe/core/dtype.h"

namespace strobe {

// `why_not` of a table row whose kernels read and write f32, f16 and bf16 on any GPU.
inline std::string why_not_cuda_floats(DType dtype, const Device& device) {
  if (dtype == DType::i32) return fmt::format("takes f32, f16 and bf16, not {}", dtype);
  return why_not_cuda(device);
}

// The same of f32 alone.
inline std::string why_not_cuda_f32(DType dtype, const Device& device) {
  if (dtype != DType::f32) return fmt::format("takes f32, not {}", dtype);
  return why_not_cuda(device);
}

}  // namespace strobe
