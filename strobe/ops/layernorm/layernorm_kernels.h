#pragma once

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/simd/kernel_table.h"

namespace strobe {

// What layernorm_cpu.cpp calls on each thread, for tensors of T.
template <class T>
struct LayernormKernels {
  // Sets y, mean and rstd of `rows` rows, the first of which is row `first` of the whole tensor;
  // before that, unless `branch` is null, x = residual + Z∘branch. residual may be null; x may be
  // branch or residual.
  void (*forward)(T* x, const T* branch, const T* residual, const float* weight, const float* bias,
                  T* y, float* mean, float* rstd, int64_t first, int64_t rows, int64_t columns,
                  float epsilon, const Dropout& dropout);

  // Sets dx of `rows` rows from row `first`, dbranch = Z∘dx unless it is null, and dweight and
  // dbias to the sums over these rows. dresidual may be null, or dx; dbranch may be dy.
  void (*backward)(const T* x, const float* weight, const float* mean, const float* rstd,
                   const T* dy, const T* dresidual, T* dx, T* dbranch, float* dweight, float* dbias,
                   int64_t first, int64_t rows, int64_t columns, const Dropout& dropout);
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
