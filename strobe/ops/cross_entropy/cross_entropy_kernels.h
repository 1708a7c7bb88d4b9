#pragma once

#include <cstdint>

#include "strobe/simd/kernel_table.h"

namespace strobe {

// What cross_entropy_cpu.cpp calls on each thread, for logits of T.
template <class T>
struct CrossEntropyKernels {
  // One row with a label in [0, vocab): returns the loss, and replaces the logits by their gradient
  // unless gradient_scale is 0.
  float (*row)(T* logits, int64_t vocab, int32_t label, float gradient_scale);
};

namespace scalar {
extern const KernelTable<CrossEntropyKernels> cross_entropy_kernels;
}
namespace avx2 {
extern const KernelTable<CrossEntropyKernels> cross_entropy_kernels;
}
namespace avx512 {
extern const KernelTable<CrossEntropyKernels> cross_entropy_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<CrossEntropyKernels> cross_entropy_kernels;
}

}  // namespace strobe
