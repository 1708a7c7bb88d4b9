// adamw_kernel
//
// Computes    the update of adamw.h for all tensors of a table, and their 16-bit copies
// Mapping     tensors are cut into chunks of kChunk elements; blocks take chunk after chunk; a
//             thread takes 4 neighbours at a time
// Shared      the step's constants, which one thread works out in double
// Steps       [1] constants  [2] find the chunk's tensor  [3] update
// Requires    at most kMostTensors tensors: the table is a kernel argument, so a recorded launch
//             holds it and no memory has to outlive the call
// Numerics    f32, the operations of the CPU in their order; square root and quotient are exact
// Cost        16 bytes read and 12 written for each element, and 2 for its copy: 30 bytes at the
//             speed of the memory
#include <algorithm>

#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/tensor_chunks.cuh"
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/adamw/adamw_constants.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;     // elements of a thread: 16 bytes of each f32 tensor
constexpr int kChunk = 8192;  // elements
constexpr int kMostTensors = 512;
constexpr int kBlocksPerMultiprocessor = 8;

struct AdamWTensor {
  const float* gradient;
  float *master, *m, *v;
  void* working;  // f16 or bf16, or null
  int64_t count;
  bool is_f16;  // the copy
  bool decays;
  bool is_aligned;  // to vectors of kWidth
};

struct AdamWTable {
  AdamWTensor tensors[kMostTensors];
  int chunks_until[kMostTensors];  // of the tensors up to and with this one
  int count;                       // of tensors
  __device__ int chunks() const { return chunks_until[count - 1]; }
};

// The numbers of a step, where they lie on the device.
struct AdamWNumbers {
  const float *learning_rate, *gradient_scale;
  const int32_t *step, *is_skipped;
  float beta1, beta2, epsilon, weight_decay;

  __device__ AdamWConstants constants(bool decays) const {
    return constants_of({.learning_rate = *learning_rate,
                         .gradient_scale = *gradient_scale,
                         .step = static_cast<double>(*step),
                         .beta1 = beta1,
                         .beta2 = beta2,
                         .epsilon = epsilon,
                         .weight_decay = weight_decay},
                        decays);
  }
};

__device__ float update_element(const AdamWConstants& c, float decay, float gradient, float master,
                                float& m, float& v) {
  const float g = gradient * c.gradient_scale;
  m = fmaf(m, c.beta1, g * c.one_minus_beta1);
  v = fmaf(v, c.beta2, g * g * c.one_minus_beta2);
  const float root = fmaf(sqrtf(v), c.inverse_sqrt_correction, c.epsilon);
  return fmaf(m / root, -c.step_size, master * decay);
}

// kCount neighbours: loaded, updated and stored as vectors.
template <int kCount>
__device__ void update_vector(const AdamWConstants& c, float decay, const AdamWTensor& tensor,
                              int64_t at) {
  const auto gradient = load_vector<float, kCount>(tensor.gradient + at);
  auto master = load_vector<float, kCount>(tensor.master + at);
  auto m = load_vector<float, kCount>(tensor.m + at);
  auto v = load_vector<float, kCount>(tensor.v + at);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    master.element[i] = update_element(c, decay, gradient.element[i], master.element[i],
                                       m.element[i], v.element[i]);
  }
  store_vector(tensor.master + at, master);
  store_vector(tensor.m + at, m);
  store_vector(tensor.v + at, v);
  if (tensor.working == nullptr) return;
  const auto store_copy = [&](auto* working) {
    using T = std::remove_pointer_t<decltype(working)>;
    Vector<T, kCount> copy;
#pragma unroll
    for (int i = 0; i < kCount; ++i) copy.element[i] = from_float<T>(master.element[i]);
    store_vector(working + at, copy);
  };
  if (tensor.is_f16) {
    store_copy(static_cast<f16*>(tensor.working));
  } else {
    store_copy(static_cast<bf16*>(tensor.working));
  }
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const __grid_constant__ AdamWTable table, AdamWNumbers numbers) {
  // [1] constants
  __shared__ AdamWConstants shared;
  if (*numbers.is_skipped != 0) return;
  if (threadIdx.x == 0) shared = numbers.constants(/*decays=*/true);
  __syncthreads();
  const AdamWConstants constants = shared;

  for (int chunk = blockIdx.x; chunk < table.chunks(); chunk += gridDim.x) {
    // [2] find the chunk's tensor
    const int index = tensor_of_chunk(table.chunks_until, table.count, chunk);
    const AdamWTensor& tensor = table.tensors[index];
    const int64_t begin =
        static_cast<int64_t>(chunk - chunks_before(table.chunks_until, index)) * kChunk;
    const int64_t end = min(begin + kChunk, tensor.count);
    const float decay = tensor.decays ? constants.decay : 1.0f;

    // [3] update
    const int64_t vectors_end = tensor.is_aligned ? end - (end - begin) % kWidth : begin;
    for (int64_t i = begin + threadIdx.x * kWidth; i < vectors_end; i += kThreads * kWidth) {
      update_vector<kWidth>(constants, decay, tensor, i);
    }
    for (int64_t i = vectors_end + threadIdx.x; i < end; i += kThreads) {
      update_vector<1>(constants, decay, tensor, i);
    }
  }
}

AdamWTensor tensor_of(const AdamWParameter& p) {
  bool is_aligned = true;
  for (const Tensor* t : {&p.master, &p.working, &p.gradient, &p.m, &p.v}) {
    is_aligned = is_aligned && reinterpret_cast<uintptr_t>(t->data) % 16 == 0;
  }
  return {.gradient = p.gradient.as<float>(),
          .master = p.master.as<float>(),
          .m = p.m.as<float>(),
          .v = p.v.as<float>(),
          .working = p.working.data,
          .count = p.master.numel(),
          .is_f16 = p.working.dtype == DType::f16,
          .decays = p.decays,
          .is_aligned = is_aligned};
}

void run(Context& ctx, std::span<const AdamWParameter> parameters, const AdamWStep& step) {
  const AdamWNumbers numbers = {.learning_rate = step.learning_rate.as<float>(),
                                .gradient_scale = step.gradient_scale.as<float>(),
                                .step = step.step.as<int32_t>(),
                                .is_skipped = step.is_skipped.as<int32_t>(),
                                .beta1 = step.beta1,
                                .beta2 = step.beta2,
                                .epsilon = step.epsilon,
                                .weight_decay = step.weight_decay};
  const int most_blocks = kBlocksPerMultiprocessor * cuda_info(ctx.device().index).multiprocessors;
  while (!parameters.empty()) {
    AdamWTable table{};
    int chunks = 0;
    const size_t taken = std::min<size_t>(parameters.size(), kMostTensors);
    for (const AdamWParameter& parameter : parameters.first(taken)) {
      const AdamWTensor tensor = tensor_of(parameter);
      chunks += static_cast<int>((tensor.count + kChunk - 1) / kChunk);
      table.tensors[table.count] = tensor;
      table.chunks_until[table.count++] = chunks;
    }
    const dim3 grid(std::min(chunks, most_blocks));
    launch(ctx, adamw_kernel, {.grid = grid, .block = kThreads}, table, numbers);
    parameters = parameters.subspan(taken);
  }
}

}  // namespace

std::span<const AdamWImpl> adamw_impls_cuda() {
  static constexpr AdamWImpl kRows[] = {{"cuda", &why_not_cuda_f32, &run}};
  return kRows;
}

}  // namespace strobe
