// sum_of_squares_kernel, then norm_kernel
//
// Computes    norm = √ Σ g², over all tensors of all tables
// Mapping     tensors are cut into chunks of kChunk elements, one block each, whose sums
//             norm_kernel, one block, adds
// Steps       [1] find the chunk's tensor  [2] square and sum  [3] join the threads' sums
// Requires    at most kMostTensors tensors in a table: it is a kernel argument, so a recorded
//             launch holds it and no memory has to outlive the call
// Numerics    squares and sums in double, in an order that the sizes alone decide
// Cost        reads every gradient once, at the speed of the memory: conversions to double take a
//             fifth of that time on an H100
#include <algorithm>

#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/gpu/tensor_chunks.cuh"
#include "strobe/ops/grad_norm/grad_norm.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int kJoiningThreads = 1024;
constexpr int kWidth = 4;      // elements of a thread: 16 bytes
constexpr int kChunk = 16384;  // elements
constexpr int kMostTensors = 1024;

struct GradientTable {
  const float* data[kMostTensors];
  int64_t count[kMostTensors];
  int chunks_until[kMostTensors];  // of the tensors up to and with this one
  int tensors;
};

__device__ double square(float x) { return static_cast<double>(x) * static_cast<double>(x); }

__global__ void __launch_bounds__(kThreads)
    sum_of_squares_kernel(const __grid_constant__ GradientTable table, double* sums) {
  __shared__ double scratch[kThreads / kWarpSize];
  // [1] find the chunk's tensor
  const int chunk = blockIdx.x;
  const int index = tensor_of_chunk(table.chunks_until, table.tensors, chunk);
  const float* data = table.data[index];
  const int64_t begin =
      static_cast<int64_t>(chunk - chunks_before(table.chunks_until, index)) * kChunk;
  const int64_t end = min(begin + kChunk, table.count[index]);

  // [2] square and sum
  const bool is_aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
  const int64_t vectors_end = is_aligned ? end - (end - begin) % kWidth : begin;
  double sum[kWidth] = {};
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * kWidth; i < vectors_end; i += kThreads * kWidth) {
    const auto x = load_vector<float, kWidth>(data + i);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum[k] += square(x.element[k]);
  }
  for (int64_t i = vectors_end + threadIdx.x; i < end; i += kThreads) sum[0] += square(data[i]);

  // [3] join the threads' sums
  const double total = reduce_block<Sum, kThreads>((sum[0] + sum[1]) + (sum[2] + sum[3]), scratch);
  if (threadIdx.x == 0) sums[chunk] = total;
}

__global__ void __launch_bounds__(kJoiningThreads)
    norm_kernel(const double* sums, int64_t count, float* norm) {
  __shared__ double scratch[kJoiningThreads / kWarpSize];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kJoiningThreads) sum += sums[i];
  const double total = reduce_block<Sum, kJoiningThreads>(sum, scratch);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(total));
}

int chunks_of(const Tensor& gradient) {
  return static_cast<int>((gradient.numel() + kChunk - 1) / kChunk);
}

void run(Context& ctx, std::span<const Tensor> gradients, const Tensor& norm) {
  int64_t all_chunks = 0;
  for (const Tensor& gradient : gradients) all_chunks += chunks_of(gradient);
  const Arena::Scope scope(ctx.arena());
  constexpr int64_t kFloats = sizeof(double) / sizeof(float);
  const Tensor memory =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {kFloats * all_chunks});
  auto* const sums = static_cast<double*>(memory.data);
  int64_t done = 0;
  while (!gradients.empty()) {
    GradientTable table{};
    int chunks = 0;
    const size_t taken = std::min<size_t>(gradients.size(), kMostTensors);
    for (const Tensor& gradient : gradients.first(taken)) {
      chunks += chunks_of(gradient);
      table.data[table.tensors] = gradient.as<float>();
      table.count[table.tensors] = gradient.numel();
      table.chunks_until[table.tensors++] = chunks;
    }
    launch(ctx, sum_of_squares_kernel, {.grid = dim3(chunks), .block = kThreads}, table,
           sums + done);
    done += chunks;
    gradients = gradients.subspan(taken);
  }
  launch(ctx, norm_kernel, {.block = kJoiningThreads}, sums, all_chunks, norm.as<float>());
}

}  // namespace

std::span<const GradNormImpl> grad_norm_impls_cuda() {
  static constexpr GradNormImpl kRows[] = {{"cuda", &why_not_cuda_f32, &run}};
  return kRows;
}

}  // namespace strobe
