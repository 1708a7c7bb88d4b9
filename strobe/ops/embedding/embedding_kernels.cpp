// The additions of rows behind the embedding; which rows, embedding_cpu.cpp says.
#include "strobe/ops/embedding/embedding_kernels.h"

#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

template <class From, class T>
void add_rows(const void* a, const void* b, T* out, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(out + i, lanes.load(static_cast<const From*>(a) + i) +
                             lanes.load(static_cast<const From*>(b) + i));
  });
}

template <class T>
void add(const void* a, const void* b, DType type, T* out, int64_t count) {
  switch (type) {
    case DType::f16: return add_rows<f16>(a, b, out, count);
    case DType::bf16: return add_rows<bf16>(a, b, out, count);
    default: return add_rows<float>(a, b, out, count);
  }
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
