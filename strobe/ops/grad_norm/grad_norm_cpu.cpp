// The CPU implementations of the gradient norm: blocks of fixed size, whichever thread is free
// takes the next, and their sums are added in order.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "strobe/core/parallel.h"
#include "strobe/ops/grad_norm/grad_norm.h"
#include "strobe/ops/grad_norm/grad_norm_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kBlock = int64_t{1} << 18;  // elements: 1 MiB

struct Block {
  const float* begin;
  int64_t count;
};

std::vector<Block> blocks_of(std::span<const Tensor> gradients) {
  std::vector<Block> blocks;
  for (const Tensor& gradient : gradients) {
    for (int64_t i = 0; i < gradient.numel(); i += kBlock) {
      blocks.push_back({gradient.as<float>() + i, std::min(kBlock, gradient.numel() - i)});
    }
  }
  return blocks;
}

template <const GradNormKernels& kKernels>
void run(Context&, std::span<const Tensor> gradients, const Tensor& norm) {
  const std::vector<Block> blocks = blocks_of(gradients);
  std::vector<double> sums(blocks.size());
  parallel_for_dynamic(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
    sums[i] = kKernels.sum_of_squares(blocks[i].begin, blocks[i].count);
  });
  const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  *norm.as<float>() = static_cast<float>(std::sqrt(sum));
}

template <Isa kIsa, const GradNormKernels& kKernels>
constexpr GradNormImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &run<kKernels>};
}

}  // namespace

std::span<const GradNormImpl> grad_norm_impls_cpu() {
  static constexpr GradNormImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::grad_norm_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::grad_norm_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::grad_norm_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::grad_norm_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
