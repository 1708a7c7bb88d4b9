// The CPU implementations of cast: threads share out the elements. There is none for AVX512-BF16,
// whose conversion flushes subnormal numbers to 0.
#include "strobe/core/parallel.h"
#include "strobe/ops/cast/cast.h"
#include "strobe/ops/cast/cast_kernels.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 8192;  // fewer elements are not worth another thread

// The row of a tensor by its number, counted over all dimensions but the last.
char* row_of(const Tensor& tensor, int64_t number) {
  int64_t offset = 0;
  for (int dim = tensor.rank() - 2; dim >= 0; --dim) {
    offset += number % tensor.shape[dim] * tensor.strides[dim];
    number /= tensor.shape[dim];
  }
  return static_cast<char*>(tensor.data) + offset * static_cast<int64_t>(size_of(tensor.dtype));
}

// A tensor without gaps is one row.
Tensor as_rows(const Tensor& tensor, bool is_one_row) {
  return is_one_row ? tensor.view({tensor.numel()}) : tensor;
}

template <const CastKernels& kKernels>
void run(Context&, const Cast& args) {
  const bool is_one_row = args.from.is_contiguous() && args.to.is_contiguous();
  const Tensor from = as_rows(args.from, is_one_row), to = as_rows(args.to, is_one_row);
  const auto convert = [&](int64_t row, int64_t begin, int64_t end) {
    kKernels.convert(row_of(from, row) + begin * size_of(from.dtype), from.dtype,
                     row_of(to, row) + begin * size_of(to.dtype), to.dtype, end - begin);
  };
  if (is_one_row) {
    parallel_ranges(from.numel(), kGrain,
                    [&](int64_t begin, int64_t end) { convert(0, begin, end); });
    return;
  }
  const int64_t columns = from.shape[from.rank() - 1];
  if (columns == 0) return;
  parallel_ranges(from.numel() / columns, (kGrain + columns - 1) / columns,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t row = begin; row < end; ++row) convert(row, 0, columns);
                  });
}

template <Isa kIsa>
std::string why_not(DType, const Device& device) {
  return why_not_isa(kIsa, device);
}

template <Isa kIsa, const CastKernels& kKernels>
constexpr CastImpl row(std::string_view name) {
  return {name, &why_not<kIsa>, &run<kKernels>};
}

}  // namespace

std::span<const CastImpl> cast_impls_cpu() {
  static constexpr CastImpl kRows[] = {
      row<Isa::avx512, avx512::cast_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::cast_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::cast_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
