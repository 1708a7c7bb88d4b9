#pragma once

#include <cstdint>

namespace strobe {

// What grad_norm_cpu.cpp calls on each thread.
struct GradNormKernels {
  double (*sum_of_squares)(const float* x, int64_t count);
};

namespace scalar {
extern const GradNormKernels grad_norm_kernels;
}
namespace avx2 {
extern const GradNormKernels grad_norm_kernels;
}
namespace avx512 {
extern const GradNormKernels grad_norm_kernels;
}
namespace avx512_bf16 {
extern const GradNormKernels grad_norm_kernels;
}

}  // namespace strobe
