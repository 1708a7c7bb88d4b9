// Products of few rows with a large matrix: all that counts is to read the matrix once, at the
// speed of memory. So a thread reads one contiguous stretch of it, row after row, asking for what
// it will need next; two streams at a time read up to a third slower.
//
// Each element of y is summed in an order that depends on the weight's shape and the instruction
// set alone: a row's result is the same bits whatever other rows there are, and on any threads.
#include "strobe/ops/linear/linear_few_rows_kernels.h"

#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"
#include "strobe/simd/math.h"
#include "strobe/simd/reduce.h"

namespace strobe::STROBE_ISA {
namespace {

// What a thread will read next, where rows of the weight are taken one by one: so many ahead.
constexpr int kRowsAhead = 2;

template <class W>
STROBE_INLINE void prefetch(const W* p) {
  __builtin_prefetch(p, 0, 3);
}

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

// sums (+)= x[:, k … k + kInner) · weight[k … k + kInner, column …], kVectors vectors of columns;
// the first products of a part set them.
template <int kInner, int kVectors, class W, class Lanes>
STROBE_INLINE void add_products(const FewRowsTask& task, int64_t k, int64_t column,
                                const FewRowsSums& part, bool is_first, Lanes lanes) {
  const W* weight = static_cast<const W*>(task.weight) + k * task.weight_stride + column;
  constexpr int kAhead = kInner == 1 ? kRowsAhead : kInner;
  F32 w[kInner][kVectors];
  for (int i = 0; i < kInner; ++i) {
    prefetch(weight + (i + kAhead) * task.weight_stride);
    for (int v = 0; v < kVectors; ++v) {
      w[i][v] = lanes.load(weight + i * task.weight_stride + v * kLanes);
    }
  }
  for (int row = 0; row < task.rows; ++row) {
    const float* x = task.x + row * task.x_stride + k;
    float* at = part.data + row * part.row_stride + column;
    F32 sum[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = is_first ? zero() : lanes.load(at + v * kLanes);
    for (int i = 0; i < kInner; ++i) {
      for (int v = 0; v < kVectors; ++v) sum[v] = fma(broadcast(x[i]), w[i][v], sum[v]);
    }
    for (int v = 0; v < kVectors; ++v) lanes.store(at + v * kLanes, sum[v]);
  }
}

template <int kInner, class W>
STROBE_INLINE void add_row_products(const FewRowsTask& task, int64_t k, int64_t begin, int64_t end,
                                    const FewRowsSums& part, bool is_first) {
  constexpr int kVectors = kLanes == 16 || kInner == 1 ? 2 : 1;  // AVX-512 has 32 registers
  int64_t i = begin;
  for (; i + kVectors * kLanes <= end; i += kVectors * kLanes) {
    add_products<kInner, kVectors, W>(task, k, i, part, is_first, WholeVector{});
  }
  for (; i + kLanes <= end; i += kLanes) {
    add_products<kInner, 1, W>(task, k, i, part, is_first, WholeVector{});
  }
  if (i < end) {
    add_products<kInner, 1, W>(task, k, i, part, is_first,
                               PartialVector{static_cast<int>(end - i)});
  }
}

template <class W>
void add_rows(const FewRowsTask& task, int64_t begin, int64_t end, const FewRowsSums& part) {
  // The sums of some columns stay in the first-level cache while the rows go by. With several rows
  // of x, loading and storing them for each row of the weight would take longer than reading it.
  constexpr int64_t kFloats = 4096;
  constexpr int kInner = 8;
  const int64_t width = kFloats / task.rows;
  for (int64_t column = 0; column < task.columns; column += width) {
    const int64_t rest = task.columns - column, last = column + (rest < width ? rest : width);
    int64_t k = begin;
    for (; task.rows > 1 && k + kInner <= end; k += kInner) {
      add_row_products<kInner, W>(task, k, column, last, part, k == begin);
    }
    for (; k < end; ++k) add_row_products<1, W>(task, k, column, last, part, k == begin);
  }
}

template <class Y>
void join(const FewRowsTask& task, const FewRowsSums& sums, int parts) {
  for (int row = 0; row < task.rows; ++row) {
    const float* at = sums.data + row * sums.row_stride;
    for_vectors(task.columns, [&](int64_t column, auto lanes) {
      F32 sum = lanes.load(at + column);
      for (int part = 1; part < parts; ++part) {
        sum += lanes.load(at + part * sums.part_stride + column);
      }
      finish<Y>(task, row, column, sum, lanes);
    });
  }
}

// Of kLanes columns of each row, the lanes of x·weight, not yet added up.
struct Parts {
  F32 of[kMostWidenedRows][kLanes];
};

// `weight` is of one column, number `column` of the parts.
template <int kRows, class W>
STROBE_INLINE void multiply_column(const FewRowsTask& task, int row, int column, const W* weight,
                                   Parts& parts) {
  F32 sum[kRows] = {};
  const float* x = task.x + row * task.x_stride;
  for_vectors(task.inner, [&](int64_t k, auto lanes) {
    prefetch(weight + k + kRowsAhead * task.weight_stride);
    const F32 w = lanes.load(weight + k);
    for (int m = 0; m < kRows; ++m) {
      sum[m] = fma(lanes.load(x + m * task.x_stride + k), w, sum[m]);
    }
  });
  for (int m = 0; m < kRows; ++m) parts.of[row + m][column] = sum[m];
}

template <class W, class Y>
void by_columns(const FewRowsTask& task) {
  for_vectors(task.columns, [&](int64_t begin, auto lanes) {
    const int64_t rest = task.columns - begin;
    const int columns = rest < kLanes ? static_cast<int>(rest) : kLanes;
    Parts parts;
    for (int row = 0; columns < kLanes && row < task.rows; ++row) {
      for (F32& part : parts.of[row]) part = zero();
    }
    for (int i = 0; i < columns; ++i) {
      const W* weight = static_cast<const W*>(task.weight) + (begin + i) * task.weight_stride;
      int row = 0;
      for (; row + 8 <= task.rows; row += 8) multiply_column<8>(task, row, i, weight, parts);
      for (; row + 4 <= task.rows; row += 4) multiply_column<4>(task, row, i, weight, parts);
      for (; row + 2 <= task.rows; row += 2) multiply_column<2>(task, row, i, weight, parts);
      for (; row < task.rows; ++row) multiply_column<1>(task, row, i, weight, parts);
    }
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
  return {&by_columns<W, Y>, &add_rows<W>, &join<Y>};
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
