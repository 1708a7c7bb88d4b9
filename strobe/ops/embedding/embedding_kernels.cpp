// The additions of rows behind the embedding; which rows, embedding_cpu.cpp says.
#include "strobe/ops/embedding/embedding_kernels.h"

#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

template <class T>
void add(const T* a, const T* b, T* out, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(out + i, lanes.load(a + i) + lanes.load(b + i));
  });
}

template <class T>
void accumulate(const T* x, float* sum, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(sum + i, lanes.load(sum + i) + lanes.load(x + i));
  });
}

}  // namespace

constinit const KernelTable<EmbeddingKernels> embedding_kernels = {
    {&add<float>, &accumulate<float>},
    {&add<bf16>, &accumulate<bf16>},
};

}  // namespace strobe::STROBE_ISA
