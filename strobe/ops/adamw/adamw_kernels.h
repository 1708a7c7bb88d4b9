#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// The constants of one step, ready for use: see adamw.h for the formula.
struct AdamWConstants {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float decay;                    // 1 − lr·weight_decay
  float step_size;                // lr/(1 − β1^step)
  float inverse_sqrt_correction;  // 1/sqrt(1 − β2^step)
  float epsilon;
};

struct AdamWArrays {
  const float* gradient;
  float *master, *m, *v;
  void* working;  // of working_type, f16 or bf16; or null
  DType working_type;
};

// What adamw_cpu.cpp calls on each thread: `count` elements from `begin` on.
struct AdamWKernels {
  void (*update)(const AdamWConstants& constants, const AdamWArrays& arrays, int64_t begin,
                 int64_t count);
};

namespace scalar {
extern const AdamWKernels adamw_kernels;
}
namespace avx2 {
extern const AdamWKernels adamw_kernels;
}
namespace avx512 {
extern const AdamWKernels adamw_kernels;
}
namespace avx512_bf16 {
extern const AdamWKernels adamw_kernels;
}

}  // namespace strobe
