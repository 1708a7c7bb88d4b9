#pragma once

#include <cstdint>

#include "strobe/simd/kernel_table.h"

namespace strobe {

// What layernorm_cpu.cpp calls on each thread, for tensors of T.
template <class T>
struct LayernormKernels {
  // Sets y, mean and rstd of `rows` rows.
  void (*forward)(const T* x, const float* weight, const float* bias, T* y, float* mean,
                  float* rstd, int64_t rows, int64_t columns, float epsilon);

  // Sets dx of `rows` rows, and dweight and dbias to the sums over these rows. dresidual may be
  // null, or dx.
  void (*backward)(const T* x, const float* weight, const float* mean, const float* rstd,
                   const T* dy, const T* dresidual, T* dx, float* dweight, float* dbias,
                   int64_t rows, int64_t columns);
};

namespace scalar {
extern const KernelTable<LayernormKernels> layernorm_kernels;
}
namespace avx2 {
extern const KernelTable<LayernormKernels> layernorm_kernels;
}
namespace avx512 {
extern const KernelTable<LayernormKernels> layernorm_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<LayernormKernels> layernorm_kernels;
}

}  // namespace strobe
