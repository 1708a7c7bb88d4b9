#pragma once

#include <string>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "strobe/core/dtype.h"

namespace strobe {

// `why_not` of a table row whose kernels read and write f32 or bf16 on one instruction set.
template <Isa kIsa>
std::string why_not_f32_bf16(DType dtype, const Device& device) {
  if (dtype != DType::f32 && dtype != DType::bf16) {
    return fmt::format("takes f32 and bf16, not {}", dtype);
  }
  return why_not_isa(kIsa, device);
}

// Calls f(T{}) with float or bf16, after why_not_f32_bf16() has excluded the rest.
template <class F>
void with_f32_or_bf16(DType dtype, F&& f) {
  dtype == DType::f32 ? f(float{}) : f(bf16{});
}

}  // namespace strobe
