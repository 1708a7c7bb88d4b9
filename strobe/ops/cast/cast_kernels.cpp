#include "strobe/ops/cast/cast_kernels.h"

#include "strobe/simd/convert.h"

namespace strobe::STROBE_ISA {

constinit const CastKernels cast_kernels = {&convert};

}  // namespace strobe::STROBE_ISA
