#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// What cast_cpu.cpp calls on each thread.
struct CastKernels {
  void (*convert)(const void* from, DType from_type, void* to, DType to_type, int64_t count);
};

namespace scalar {
extern const CastKernels cast_kernels;
}
namespace avx2 {
extern const CastKernels cast_kernels;
}
namespace avx512 {
extern const CastKernels cast_kernels;
}
namespace avx512_bf16 {
extern const CastKernels cast_kernels;
}

}  // namespace strobe
