// The CPU implementations of kv_append: threads share out the heads of positions. There is none for
// AVX512-BF16, whose conversion flushes subnormal numbers to 0.
#include <algorithm>

#include "strobe/core/parallel.h"
#include "strobe/ops/kv_append/kv_append.h"
#include "strobe/ops/kv_append/kv_append_kernels.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 8192;  // fewer elements are not worth another thread

char* row_of(const Tensor& x, int64_t sequence, int64_t position, int64_t head) {
  const int64_t offset = sequence * x.strides[0] + position * x.strides[1] + head * x.strides[2];
  return static_cast<char*>(x.data) + offset * static_cast<int64_t>(size_of(x.dtype));
}

int64_t value_or(const Tensor& values, int64_t index, int64_t otherwise) {
  return values.has_data() ? values.as<int32_t>()[index] : otherwise;
}

template <const KvAppendKernels& kKernels>
void append(Context&, const KvAppend& args) {
  const int64_t time = args.k.shape[1], heads = args.k.shape[2], head_dim = args.k.shape[3];
  const int64_t grain = kGrain / std::max<int64_t>(1, 2 * head_dim) + 1;
  parallel_ranges(args.k.shape[0] * time * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t head = row % heads, i = row / heads % time;
      const int64_t b = row / heads / time;
      if (i >= value_or(args.count, b, time)) continue;
      const int64_t from = value_or(args.from_begin, b, 0) + i;
      const int64_t to = value_or(args.to_begin, b, 0) + i;
      kKernels.convert(row_of(args.k, b, from, head), args.k.dtype,
                       row_of(args.k_cache, b, to, head), args.k_cache.dtype, head_dim);
      kKernels.convert(row_of(args.v, b, from, head), args.v.dtype,
                       row_of(args.v_cache, b, to, head), args.v_cache.dtype, head_dim);
    }
  });
}

void extend(Context&, const KvExtend& args) {
  for (int64_t b = 0; b < args.lengths.shape[0]; ++b) {
    args.begins.as<int32_t>()[b] = args.lengths.as<int32_t>()[b]++;
  }
}

template <Isa kIsa>
std::string why_not(DType, const Device& device) {
  return why_not_isa(kIsa, device);
}

template <Isa kIsa, const KvAppendKernels& kKernels>
constexpr KvAppendImpl row(std::string_view name) {
  return {name, &why_not<kIsa>, &append<kKernels>, &extend};
}

}  // namespace

std::span<const KvAppendImpl> kv_append_impls_cpu() {
  static constexpr KvAppendImpl kRows[] = {
      row<Isa::avx512, avx512::kv_append_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::kv_append_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::kv_append_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
