#include "strobe/ops/kv_append/kv_append_kernels.h"

#include "strobe/simd/convert.h"

namespace strobe::STROBE_ISA {

constinit const KvAppendKernels kv_append_kernels = {&convert};

}  // namespace strobe::STROBE_ISA
