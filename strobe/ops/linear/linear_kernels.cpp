// What a fully connected layer needs beside its matrix products: the bias's gradient, GELU where
// its argument is kept, its derivative, and the rounding of sums made in f32.
#include "strobe/ops/linear/linear_kernels.h"

#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"

namespace strobe::STROBE_ISA {
namespace {

// Blocks of columns stay in registers while all rows pass.
template <class T>
void sum_columns(const T* x, int64_t stride, int64_t rows, float* sums, int64_t columns,
                 bool accumulate) {
  constexpr int kVectors = 8;
  constexpr int kBlock = kVectors * kLanes;
  int64_t begin = 0;
  for (; begin + kBlock <= columns; begin += kBlock) {
    F32 sum[kVectors] = {};
    for (int64_t row = 0; row < rows; ++row) {
      for (int k = 0; k < kVectors; ++k) sum[k] += load(x + row * stride + begin + k * kLanes);
    }
    for (int k = 0; k < kVectors; ++k) {
      float* out = sums + begin + k * kLanes;
      store(out, accumulate ? load(out) + sum[k] : sum[k]);
    }
  }
  for_vectors(columns - begin, [&](int64_t i, auto lanes) {
    F32 sum = zero();
    for (int64_t row = 0; row < rows; ++row) sum += lanes.load(x + row * stride + begin + i);
    float* out = sums + begin + i;
    lanes.store(out, accumulate ? lanes.load(out) + sum : sum);
  });
}

template <class T>
void gelu_array(const T* x, T* y, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) { lanes.store(y + i, gelu(lanes.load(x + i))); });
}

template <class T>
void multiply_by_gelu_derivative(const T* x, T* dy, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(dy + i, lanes.load(dy + i) * gelu_derivative(lanes.load(x + i)));
  });
}

template <class T>
void round_array(const float* x, T* y, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) { lanes.store(y + i, lanes.load(x + i)); });
}

}  // namespace

constinit const KernelTable<LinearKernels> linear_kernels = {
    {&sum_columns<float>, &gelu_array<float>, &multiply_by_gelu_derivative<float>,
     &round_array<float>},
    {&sum_columns<bf16>, &gelu_array<bf16>, &multiply_by_gelu_derivative<bf16>, &round_array<bf16>},
};

}  // namespace strobe::STROBE_ISA
