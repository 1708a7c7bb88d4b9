// dropout_add
//
// Computes    y = residual + Z∘x,  Z = 0 where the element's random byte < threshold, else 1/keep
// Mapping     kLanes Philox counters at a time decide 16·kLanes consecutive elements: the bytes are
//             compared as vectors, transposed to element order, and widened to lane masks
//             (strobe/simd/dropout.h)
// Numerics    f32; a dropped NaN or infinity becomes 0
#include "strobe/ops/dropout_add/dropout_add_kernels.h"

#include "strobe/simd/dropout.h"

namespace strobe::STROBE_ISA {
namespace {

template <class T>
void run(const T* x, const T* residual, T* y, int64_t first, int64_t count,
         const Dropout& dropout) {
  add_dropped(x, residual, y, first, count, dropout);
}

}  // namespace

constinit const KernelTable<DropoutAddKernels> dropout_add_kernels = {{&run<float>}, {&run<bf16>}};

}  // namespace strobe::STROBE_ISA
