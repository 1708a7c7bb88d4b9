// The additions of rows behind the embedding; which rows, embedding_cpu.cpp says.
#include "strobe/ops/embedding/embedding_kernels.h"

#include "strobe/simd/f16.h"  // before the loops, which call its load()

#include "strobe/simd/dropout.h"
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
void add(const void* a, const void* b, DType type, T* out, int64_t first, int64_t count,
         const Dropout& dropout) {
  switch (type) {
    case DType::f16: add_rows<f16>(a, b, out, count); break;
    case DType::bf16: add_rows<bf16>(a, b, out, count); break;
    default: add_rows<float>(a, b, out, count);
  }
  if (dropout.threshold != 0) {
    add_dropped(out, static_cast<const T*>(nullptr), out, first, count, dropout);
  }
}

template <class T>
void accumulate(const T* x, float* sum, int64_t first, int64_t count, const Dropout& dropout) {
  add_dropped(x, sum, sum, first, count, dropout);
}

}  // namespace

constinit const KernelTable<EmbeddingKernels> embedding_kernels = {
    {&add<float>, &accumulate<float>},
    {&add<bf16>, &accumulate<bf16>},
};

}  // namespace strobe::STROBE_ISA
