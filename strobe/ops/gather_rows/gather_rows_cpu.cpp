// The CPU implementation of gather_rows: threads share out the rows, whose bytes are copied.
#include <cstring>

#include "strobe/core/parallel.h"
#include "strobe/ops/gather_rows/gather_rows.h"

namespace strobe {
namespace {

constexpr int64_t kRowGrain = 8;  // fewer rows are not worth another thread

std::string why_not(DType dtype, const Device& device) {
  if (dtype == DType::i32) return fmt::format("takes f32, f16 and bf16, not {}", dtype);
  return why_not_isa(Isa::scalar, device);
}

void run(Context&, const GatherRows& args) {
  const auto row_bytes = args.x.shape[1] * static_cast<int64_t>(size_of(args.x.dtype));
  const int32_t* indices = args.indices.as<int32_t>();
  const auto* from = static_cast<const char*>(args.x.data);
  auto* to = static_cast<char*>(args.out.data);
  parallel_ranges(args.indices.numel(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + i * row_bytes, from + indices[i] * row_bytes, row_bytes);
    }
  });
}

}  // namespace

std::span<const GatherRowsImpl> gather_rows_impls_cpu() {
  static constexpr GatherRowsImpl kRows[] = {{"cpu", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
