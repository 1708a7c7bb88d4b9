#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// What kv_append_cpu.cpp calls on each thread.
struct KvAppendKernels {
  void (*convert)(const void* from, DType from_type, void* to, DType to_type, int64_t count);
};

namespace scalar {
extern const KvAppendKernels kv_append_kernels;
}
namespace avx2 {
extern const KvAppendKernels kv_append_kernels;
}
namespace avx512 {
extern const KvAppendKernels kv_append_kernels;
}
namespace avx512_bf16 {
extern const KvAppendKernels kv_append_kernels;
}

}  // namespace strobe
