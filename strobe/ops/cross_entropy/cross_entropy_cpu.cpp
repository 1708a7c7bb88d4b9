// The CPU implementations of cross entropy: threads take row after row.
#include <cstring>

#include "strobe/core/parallel.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/cross_entropy/cross_entropy_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

template <class T>
void run_rows(const CrossEntropyKernels<T>& kernels, const CrossEntropy& args) {
  const int64_t rows = args.logits.shape[0], vocab = args.logits.shape[1],
                stride = args.logits.strides[0];
  const int32_t* labels = args.labels.as<int32_t>();
  float* loss = args.loss.as<float>();
  const float scale =
      args.gradient_scale * (args.scale.has_data() ? *args.scale.as<float>() : 1.0f);
  parallel_for_dynamic(rows, [&](int64_t row, int) {
    T* logits = args.logits.as<T>() + row * stride;
    const bool is_ignored = labels[row] == kIgnoredLabel;
    loss[row] = is_ignored ? 0 : kernels.row(logits, vocab, labels[row], scale);
    if (args.gradient_scale != 0 && (is_ignored || scale == 0)) {
      std::memset(logits, 0, vocab * sizeof(T));
    }
  });
}

template <const KernelTable<CrossEntropyKernels>& kKernels>
void run(Context&, const CrossEntropy& args) {
  with_f32_or_bf16(args.logits.dtype,
                   [&](auto type) { run_rows(kKernels.of<decltype(type)>(), args); });
}

template <Isa kIsa, const KernelTable<CrossEntropyKernels>& kKernels>
constexpr CrossEntropyImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &run<kKernels>};
}

}  // namespace

std::span<const CrossEntropyImpl> cross_entropy_impls_cpu() {
  static constexpr CrossEntropyImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::cross_entropy_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::cross_entropy_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::cross_entropy_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::cross_entropy_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
