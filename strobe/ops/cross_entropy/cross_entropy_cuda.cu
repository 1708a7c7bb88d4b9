// cross_entropy_kernel
//
// Computes    loss = ln Σ_j exp(x_j) − x_label;  x_j := g·(exp(x_j)/Σ − [j = label])
// Shapes      logits [rows, V] with any stride of rows, labels, loss [rows]
// Mapping     one block a row: thread t takes its 16-byte vectors t, t + kThreads, …, and the few
//             elements before the first and behind the last of them, one each
// Shared      the row, as it is read: each thread reads again what it wrote. What does not fit is
//             read from memory again
// Steps       [1] one pass for maximum and sum, each thread with its own running maximum, rescaled
//             once for kBatch vectors  [2] merge the threads  [3] loss  [4] gradient
// Requires    nothing; rows at addresses of any alignment take the same path
// Numerics    f32; exponents are differences to the maximum; NaN and +∞ anywhere give a NaN loss
// Cost        reads the logits once and writes them once; two exponentials an element
#include <algorithm>

#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/math.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/cross_entropy/cross_entropy.h"

namespace strobe {
namespace {

constexpr int kThreads = 512;
constexpr int kBatch = 4;                    // vectors that a thread loads at once
constexpr float kLowest = -0x1.fffffep127f;  // finite, so that differences are never NaN
constexpr float kLog2E = 1.4426950409f;

__device__ __forceinline__ float exp_of_difference(float x, float y) {
  return exp2_approximately((x - y) * kLog2E);
}

// A row cut at multiples of 16 bytes: `head` elements, `vectors`, and the rest.
template <class T>
struct RowParts {
  static constexpr int kWidth = kVectorWidth<T>;
  int head, vectors, vocab;

  __device__ __forceinline__ RowParts(const T* row, int vocab) : vocab(vocab) {
    const auto misaligned = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(T));
    head = min(vocab, (kWidth - misaligned) % kWidth);
    vectors = (vocab - head) / kWidth;
  }
  // Elements outside of the vectors, fewer than 2·kWidth, and where they are.
  __device__ __forceinline__ int edges() const { return vocab - vectors * kWidth; }
  __device__ __forceinline__ int edge(int i) const { return i < head ? i : i + vectors * kWidth; }
  __device__ __forceinline__ int first_of(int vector) const { return head + vector * kWidth; }
};

struct RunningSoftmax {
  float largest = kLowest, sum = 0;

  // Takes in elements of which the largest is given.
  __device__ __forceinline__ void rescale(float new_largest) {
    sum *= exp_of_difference(largest, new_largest);
    largest = new_largest;
  }
  __device__ __forceinline__ void add(float x) { sum += exp_of_difference(x, largest); }
};

template <class T>
struct CrossEntropyPointers {
  T* logits;
  const int32_t* labels;
  float* loss;
  const float* scale;  // or null
};

// [1] for one thread; the first `kept` vectors of the row stay in shared memory.
template <class T>
__device__ __forceinline__ RunningSoftmax read_row(const T* row, const RowParts<T>& parts,
                                                   WideVector<T>* s_row, int kept) {
  constexpr int kWidth = kVectorWidth<T>;
  RunningSoftmax state;
  if (static_cast<int>(threadIdx.x) < parts.edges()) {
    const float x = to_float(row[parts.edge(threadIdx.x)]);
    state.largest = fmaxf(kLowest, x);
    state.add(x);
  }
  const auto* vectors = reinterpret_cast<const WideVector<T>*>(row + parts.head);
  for (int begin = threadIdx.x; begin < parts.vectors; begin += kBatch * kThreads) {
    WideVector<T> raw[kBatch];
    float largest = state.largest;
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (begin + b * kThreads < parts.vectors) raw[b] = vectors[begin + b * kThreads];
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int vector = begin + b * kThreads;
      if (vector >= parts.vectors) break;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) largest = fmaxf(largest, to_float(raw[b].element[i]));
      if (vector < kept) s_row[vector] = raw[b];
    }
    state.rescale(largest);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (begin + b * kThreads >= parts.vectors) break;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) state.add(to_float(raw[b].element[i]));
    }
  }
  return state;
}

// [4] for one thread: row[j] = factor·exp(row[j] − largest) − [j = label]·scale.
template <class T>
__device__ __forceinline__ void write_gradient(T* row, const RowParts<T>& parts,
                                               const WideVector<T>* s_row, int kept, float largest,
                                               float factor, int label, float scale) {
  constexpr int kWidth = kVectorWidth<T>;
  if (static_cast<int>(threadIdx.x) < parts.edges()) {
    const int j = parts.edge(threadIdx.x);
    const float p = factor * exp_of_difference(to_float(row[j]), largest);
    row[j] = from_float<T>(j == label ? p - scale : p);
  }
  auto* vectors = reinterpret_cast<WideVector<T>*>(row + parts.head);
#pragma unroll 4
  for (int vector = threadIdx.x; vector < parts.vectors; vector += kThreads) {
    const WideVector<T> raw = vector < kept ? s_row[vector] : vectors[vector];
    float x[kWidth];
    to_floats(x, raw);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) x[i] = factor * exp_of_difference(x[i], largest);
    const int label_at = label - parts.first_of(vector);
    if (label_at >= 0 && label_at < kWidth) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] -= i == label_at ? scale : 0.0f;
    }
    store_floats(row + parts.first_of(vector), x);
  }
}

template <class T>
__device__ __forceinline__ void clear_row(T* row, const RowParts<T>& parts) {
  if (static_cast<int>(threadIdx.x) < parts.edges()) row[parts.edge(threadIdx.x)] = T{};
  auto* vectors = reinterpret_cast<WideVector<T>*>(row + parts.head);
  for (int v = threadIdx.x; v < parts.vectors; v += kThreads) vectors[v] = WideVector<T>{};
}

// gradient_scale 0: the loss only.
template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(CrossEntropyPointers<T> p, int64_t stride, int vocab, int shared_vectors,
                         float gradient_scale) {
  extern __shared__ uint4 s_memory[];
  __shared__ float scratch[2][kThreads / kWarpSize];
  auto* s_row = reinterpret_cast<WideVector<T>*>(s_memory);
  T* row = p.logits + blockIdx.x * stride;
  const RowParts<T> parts(row, vocab);
  const int label = p.labels[blockIdx.x];
  const bool is_label = label >= 0 && label < vocab;
  if (!is_label) {
    if (threadIdx.x == 0) p.loss[blockIdx.x] = label == kIgnoredLabel ? 0.0f : NAN;
    if (gradient_scale != 0) clear_row(row, parts);
    return;
  }
  const float label_logit = to_float(row[label]);
  const RunningSoftmax mine = read_row(row, parts, s_row, shared_vectors);  // [1]

  const float largest = reduce_block<Maximum, kThreads>(mine.largest, scratch[0]);  // [2]
  const float sum =
      reduce_block<Sum, kThreads>(mine.sum * exp_of_difference(mine.largest, largest), scratch[1]);

  if (threadIdx.x == 0) p.loss[blockIdx.x] = logf(sum) + (largest - label_logit);  // [3]
  if (gradient_scale == 0) return;

  const float scale = gradient_scale * (p.scale == nullptr ? 1.0f : *p.scale);  // [4]
  write_gradient(row, parts, s_row, shared_vectors, largest, scale / sum, label, scale);
}

void run(Context& ctx, const CrossEntropy& args) {
  const int64_t rows = args.logits.shape[0], vocab = args.logits.shape[1];
  with_float_type(args.logits.dtype, [&](auto type) {
    using T = decltype(type);
    const CrossEntropyPointers<T> p = {
        .logits = args.logits.as<T>(),
        .labels = args.labels.as<int32_t>(),
        .loss = args.loss.as<float>(),
        .scale = args.scale.has_data() ? args.scale.as<float>() : nullptr};
    // What is kept for the gradient leaves room for what the kernel itself has in shared memory.
    constexpr int64_t kVector = sizeof(WideVector<T>), kReserved = 1024;
    const int64_t room = cuda_info(ctx.device().index).shared_bytes_per_block - kReserved;
    const int64_t vectors =
        args.gradient_scale == 0 ? 0 : std::min(vocab / kVectorWidth<T>, room / kVector);
    launch(ctx, cross_entropy_kernel<T>,
           {.grid = dim3(rows),
            .block = dim3(kThreads),
            .shared_bytes = static_cast<int>(vectors * kVector)},
           p, args.logits.strides[0], vocab, vectors, args.gradient_scale);
  });
}

}  // namespace

std::span<const CrossEntropyImpl> cross_entropy_impls_cuda() {
  static constexpr CrossEntropyImpl kRows[] = {{"cuda", &why_not_cuda_floats, &run}};
  return kRows;
}

}  // namespace strobe
