// Products of few rows with a large matrix: all that counts is to read the matrix once, at the
// speed of memory. Each element of y is summed in an order that depends on K and the instruction
// set alone: a row's result is the same bits whatever other rows there are, and on any threads.
#include "strobe/ops/linear/linear_few_rows_kernels.h"

#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"
#include "strobe/simd/reduce.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr bool kHasManyRegisters = kLanes == 16;  // 32 of them with AVX-512, else 16

// Sets y of row `row` at `column` from the product without bias.
template <class Y, class Lanes>
STROBE_INLINE void finish(const FewRowsTask& task, int row, int64_t column, F32 sum, Lanes lanes) {
  if (task.bias != nullptr) sum += lanes.load(task.bias + column);
  if (task.pre_activation != nullptr) {
    Y* kept = static_cast<Y*>(task.pre_activation) + row * task.pre_activation_stride + column;
    lanes.store(kept, sum);
    sum = lanes.load(kept);  // GELU is of the rounded value, as in a backward pass
  }
  if (task.gelu) sum = gelu(sum);
  lanes.store(static_cast<Y*>(task.y) + row * task.y_stride + column, sum);
}

// The sums of some columns while the rows of the weight go by; in the first-level cache.
struct Sums {
  static constexpr int kFloats = 4096;
  float data[kFloats];
  int64_t stride;  // of a row of x
};

// sums += x[:, k … k + kInner) · weight[k … k + kInner, column …], kVectors vectors of columns.
template <int kInner, int kVectors, class W, class Lanes>
STROBE_INLINE void add_products(const FewRowsTask& task, int64_t k, int64_t column, const W* weight,
                                Sums& sums, Lanes lanes) {
  F32 w[kInner][kVectors];
  for (int i = 0; i < kInner; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      w[i][v] = lanes.load(weight + i * task.weight_stride + column + v * kLanes);
    }
  }
  for (int row = 0; row < task.rows; ++row) {
    const float* x = task.x + row * task.x_stride + k;
    float* at = sums.data + row * sums.stride + column;
    F32 sum[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = load(at + v * kLanes);
    for (int i = 0; i < kInner; ++i) {
      for (int v = 0; v < kVectors; ++v) sum[v] = fma(broadcast(x[i]), w[i][v], sum[v]);
    }
    for (int v = 0; v < kVectors; ++v) store(at + v * kLanes, sum[v]);
  }
}

template <int kInner, class W>
STROBE_INLINE void add_row_products(const FewRowsTask& task, int64_t k, int64_t columns,
                                    const W* weight, Sums& sums) {
  constexpr int kVectors = kHasManyRegisters ? 2 : 1;
  int64_t i = 0;
  for (; i + kVectors * kLanes <= columns; i += kVectors * kLanes) {
    add_products<kInner, kVectors>(task, k, i, weight, sums, WholeVector{});
  }
  for (; i + kLanes <= columns; i += kLanes) {
    add_products<kInner, 1>(task, k, i, weight, sums, WholeVector{});
  }
  if (i < columns) {
    add_products<kInner, 1>(task, k, i, weight, sums, PartialVector{static_cast<int>(columns - i)});
  }
}

template <class W, class Y>
void by_rows(const FewRowsTask& task) {
  constexpr int kInner = 8;  // rows of the weight at a time
  Sums sums;
  sums.stride = Sums::kFloats / task.rows / (2 * kLanes) * (2 * kLanes);
  for (int64_t begin = 0; begin < task.columns; begin += sums.stride) {
    const int64_t rest = task.columns - begin;
    const int64_t columns = rest < sums.stride ? rest : sums.stride;
    std::memset(sums.data, 0, sizeof(sums.data));
    const W* weight = static_cast<const W*>(task.weight) + begin;
    int64_t k = 0;
    for (; k + kInner <= task.inner; k += kInner) {
      add_row_products<kInner>(task, k, columns, weight + k * task.weight_stride, sums);
    }
    for (; k < task.inner; ++k) {
      add_row_products<1>(task, k, columns, weight + k * task.weight_stride, sums);
    }
    for (int row = 0; row < task.rows; ++row) {
      const float* at = sums.data + row * sums.stride;
      for_vectors(columns, [&](int64_t i, auto lanes) {
        finish<Y>(task, row, begin + i, lanes.load(at + i), lanes);
      });
    }
  }
}

// Of kLanes columns of each row, the lanes of x·weight, not yet added up.
struct Parts {
  F32 of[kMostFewRows][kLanes] = {};
};

// Rows from `row` on and columns from `column` on; `weight` is of the first of the kLanes columns.
template <int kRows, int kColumns, class W>
STROBE_INLINE void multiply_columns(const FewRowsTask& task, int row, int column, const W* weight,
                                    Parts& parts) {
  F32 sum[kRows][kColumns] = {};
  const float* x = task.x + row * task.x_stride;
  weight += column * task.weight_stride;
  for_vectors(task.inner, [&](int64_t k, auto lanes) {
    F32 w[kColumns];
    for (int n = 0; n < kColumns; ++n) w[n] = lanes.load(weight + n * task.weight_stride + k);
    for (int m = 0; m < kRows; ++m) {
      const F32 in = lanes.load(x + m * task.x_stride + k);
      for (int n = 0; n < kColumns; ++n) sum[m][n] = fma(in, w[n], sum[m][n]);
    }
  });
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kColumns; ++n) parts.of[row + m][column + n] = sum[m][n];
  }
}

template <int kColumns, class W>
STROBE_INLINE void multiply_all_rows(const FewRowsTask& task, int column, const W* weight,
                                     Parts& parts) {
  constexpr int kRows = kHasManyRegisters ? 4 : 2;
  int row = 0;
  for (; row + kRows <= task.rows; row += kRows) {
    multiply_columns<kRows, kColumns>(task, row, column, weight, parts);
  }
  for (; row < task.rows; ++row) multiply_columns<1, kColumns>(task, row, column, weight, parts);
}

template <class W, class Y>
void by_columns(const FewRowsTask& task) {
  constexpr int kColumns = 4;  // of the weight at a time
  for_vectors(task.columns, [&](int64_t begin, auto lanes) {
    const W* weight = static_cast<const W*>(task.weight) + begin * task.weight_stride;
    const int64_t rest = task.columns - begin;
    const int columns = rest < kLanes ? static_cast<int>(rest) : kLanes;
    Parts parts;
    int column = 0;
    for (; column + kColumns <= columns; column += kColumns) {
      multiply_all_rows<kColumns>(task, column, weight, parts);
    }
    for (; column < columns; ++column) multiply_all_rows<1>(task, column, weight, parts);
    for (int row = 0; row < task.rows; ++row) {
      finish<Y>(task, row, begin, sum_each(parts.of[row]), lanes);
    }
  });
}

template <class From>
void widen_array(const void* from, float* to, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(to + i, lanes.load(static_cast<const From*>(from) + i));
  });
}

void widen(const void* from, DType from_type, float* to, int64_t count) {
  from_type == DType::f16 ? widen_array<f16>(from, to, count) : widen_array<bf16>(from, to, count);
}

template <class W, class Y>
constexpr FewRowsKernels kernels_of() {
  return {&by_rows<W, Y>, &by_columns<W, Y>};
}

}  // namespace

constinit const FewRowsTable few_rows_table = {
    .f32_f32 = kernels_of<float, float>(),
    .f16_f32 = kernels_of<f16, float>(),
    .bf16_f32 = kernels_of<bf16, float>(),
    .bf16_bf16 = kernels_of<bf16, bf16>(),
    .widen = &widen,
};

}  // namespace strobe::STROBE_ISA
