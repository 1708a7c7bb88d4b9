// GELU, tanh form: the formulas and their numerics are in strobe/simd/math.h.
#include "strobe/ops/gelu/gelu_kernels.h"

#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"

namespace strobe::STROBE_ISA {
namespace {

template <class T>
void forward(const T* x, T* y, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) { lanes.store(y + i, gelu(lanes.load(x + i))); });
}

template <class T>
void backward(const T* x, const T* dy, T* dx, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(dx + i, lanes.load(dy + i) * gelu_derivative(lanes.load(x + i)));
  });
}

}  // namespace

constinit const KernelTable<GeluKernels> gelu_kernels = {
    {&forward<float>, &backward<float>},
    {&forward<bf16>, &backward<bf16>},
};

}  // namespace strobe::STROBE_ISA
