#pragma once

#include <cstdint>

#include "strobe/simd/kernel_table.h"

namespace strobe {

// What gelu_cpu.cpp calls on each thread, for `count` elements of T.
template <class T>
struct GeluKernels {
  void (*forward)(const T* x, T* y, int64_t count);
  void (*backward)(const T* x, const T* dy, T* dx, int64_t count);  // dx may be dy
};

namespace scalar {
extern const KernelTable<GeluKernels> gelu_kernels;
}
namespace avx2 {
extern const KernelTable<GeluKernels> gelu_kernels;
}
namespace avx512 {
extern const KernelTable<GeluKernels> gelu_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<GeluKernels> gelu_kernels;
}

}  // namespace strobe
