#include "strobe/gpu/checksum.h"

#include <algorithm>

#include "strobe/gpu/launch.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;

// Sums of integers are the same in any order. Each element is multiplied by an odd number of its
// own, so that no two can change places.
template <class Bits>
__global__ void __launch_bounds__(kThreads)
    checksum_kernel(const Bits* data, int64_t rows, int64_t columns, int64_t stride,
                    unsigned long long* sum) {
  unsigned long long mine = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < rows * columns;
       i += step) {
    const unsigned long long own = 2 * static_cast<unsigned long long>(i) + 1;
    mine += data[i / columns * stride + i % columns] * (own * 0x9E3779B97F4A7C15ull);
  }
  atomicAdd(sum, mine);
}

}  // namespace

void add_checksum(Context& ctx, const Tensor& matrix, uint64_t* sum) {
  const bool by_rows = matrix.strides[1] == 1;
  const int64_t rows = matrix.shape[by_rows ? 0 : 1], columns = matrix.shape[by_rows ? 1 : 0];
  const int64_t stride = matrix.strides[by_rows ? 0 : 1];
  const dim3 grid(
      static_cast<unsigned>(std::min(kMostBlocks, (rows * columns + kThreads - 1) / kThreads)));
  auto* const result = reinterpret_cast<unsigned long long*>(sum);
  const Launch shape = {.grid = grid, .block = kThreads};
  if (size_of(matrix.dtype) == 4) {
    launch(ctx, checksum_kernel<uint32_t>, shape, static_cast<const uint32_t*>(matrix.data), rows,
           columns, stride, result);
  } else {
    launch(ctx, checksum_kernel<uint16_t>, shape, static_cast<const uint16_t*>(matrix.data), rows,
           columns, stride, result);
  }
}

}  // namespace strobe
