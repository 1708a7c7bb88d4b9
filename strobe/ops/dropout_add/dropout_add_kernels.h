#pragma once

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/simd/kernel_table.h"

namespace strobe {

// What dropout_add_cpu.cpp calls on each thread, for tensors of T.
template <class T>
struct DropoutAddKernels {
  // y = residual + Z∘x of `count` elements, the first of which is element `first` of its tensor.
  // `residual` may be null: 0. y may be x or residual.
  void (*run)(const T* x, const T* residual, T* y, int64_t first, int64_t count,
              const Dropout& dropout);
};

// 16 elements share one Philox counter; the widest kernel makes 16 counters at a time. Ranges that
// begin at a multiple decide no element twice.
constexpr int64_t kDropoutAddGrain = 256;

namespace scalar {
extern const KernelTable<DropoutAddKernels> dropout_add_kernels;
}
namespace avx2 {
extern const KernelTable<DropoutAddKernels> dropout_add_kernels;
}
namespace avx512 {
extern const KernelTable<DropoutAddKernels> dropout_add_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<DropoutAddKernels> dropout_add_kernels;
}

}  // namespace strobe
