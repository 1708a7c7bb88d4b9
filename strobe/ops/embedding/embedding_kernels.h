#pragma once

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/simd/kernel_table.h"

namespace strobe {

// What embedding_cpu.cpp calls on each thread, for outputs (and their gradients) of T.
template <class T>
struct EmbeddingKernels {
  // out = Z∘(a + b) of `count` elements; a and b are of the tables' type, out[0] is element `first`
  // of its tensor.
  void (*add)(const void* a, const void* b, DType type, T* out, int64_t first, int64_t count,
              const Dropout& dropout);
  // sum += Z∘x of `count` elements; x[0] is element `first` of its tensor.
  void (*accumulate)(const T* x, float* sum, int64_t first, int64_t count, const Dropout& dropout);
};

namespace scalar {
extern const KernelTable<EmbeddingKernels> embedding_kernels;
}
namespace avx2 {
extern const KernelTable<EmbeddingKernels> embedding_kernels;
}
namespace avx512 {
extern const KernelTable<EmbeddingKernels> embedding_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<EmbeddingKernels> embedding_kernels;
}

}  // namespace strobe
