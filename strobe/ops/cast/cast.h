#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// to = from, rounded to nearest in to's type (ties to even). f32, f16 and bf16; both have the same
// shape, and any strides as long as the last dimension is contiguous.
struct Cast {
  Tensor from;
  Tensor to;  // set
};

void cast(Context& ctx, const Cast& args);

struct CastImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const Cast&);
};
std::span<const CastImpl> cast_impls();  // of all devices
std::span<const CastImpl> cast_impls_cpu();
std::span<const CastImpl> cast_impls_cuda();

}  // namespace strobe
