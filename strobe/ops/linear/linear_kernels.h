#pragma once

#include <cstdint>

#include "strobe/simd/kernel_table.h"

namespace strobe {

// What linear_cpu.cpp calls on each thread beside the matrix products, for tensors of T.
template <class T>
struct LinearKernels {
  // sums (+)= the sums over `rows` rows, `stride` elements apart, of each of `columns` columns.
  void (*sum_columns)(const T* x, int64_t stride, int64_t rows, float* sums, int64_t columns,
                      bool accumulate);
  void (*gelu)(const T* x, T* y, int64_t count);
  void (*multiply_by_gelu_derivative)(const T* x, T* dy, int64_t count);  // dy = dy·gelu′(x)
  void (*round)(const float* x, T* y, int64_t count);                     // y = x
};

namespace scalar {
extern const KernelTable<LinearKernels> linear_kernels;
}
namespace avx2 {
extern const KernelTable<LinearKernels> linear_kernels;
}
namespace avx512 {
extern const KernelTable<LinearKernels> linear_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<LinearKernels> linear_kernels;
}

}  // namespace strobe
