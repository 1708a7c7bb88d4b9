#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// Rows of x that take the kernels below instead of a matrix product; more where the weight would
// have to be widened for it. See linear_few_rows.h.
constexpr int kMostFewRows = 8, kMostWidenedRows = 16;

// Some columns of y = x·weight + bias, then optionally GELU, on one thread. Pointers are to the
// first of the columns; nothing here has an inline function (see strobe/simd/vec.h).
struct FewRowsTask {
  const float* x = nullptr;  // [rows, inner]
  int64_t x_stride = 0;
  int rows = 0;  // 1 … kMostWidenedRows
  int64_t inner = 0;
  const void* weight = nullptr;
  int64_t weight_stride = 0;    // elements between the rows, or the columns, that are contiguous
  const float* bias = nullptr;  // or null
  void* y = nullptr;
  int64_t y_stride = 0;
  void* pre_activation = nullptr;  // like y, or null
  int64_t pre_activation_stride = 0;
  bool gelu = false;
  int64_t columns = 0;
};

// Sums over a part of K: [parts, rows, stride], of which a task has some columns.
struct FewRowsSums {
  float* data = nullptr;
  int64_t row_stride = 0, part_stride = 0;
};

struct FewRowsKernels {
  // The columns of the weight are contiguous, the transpose of an [N, K]: sets y.
  void (*by_columns)(const FewRowsTask&);
  // Its rows are, [K, N]: sets the sums of one part to x[:, begin … end) · weight[begin … end, :]
  void (*add_rows)(const FewRowsTask&, int64_t begin, int64_t end, const FewRowsSums& part);
  // … and y from those of all parts, in their order.
  void (*join)(const FewRowsTask&, const FewRowsSums& sums, int parts);
};

// Named after the types of the weight and of y.
struct FewRowsTable {
  FewRowsKernels f32_f32, f16_f32, bf16_f32, bf16_bf16;
  void (*widen)(const void* from, DType from_type, float* to, int64_t count);
};

namespace scalar {
extern const FewRowsTable few_rows_table;
}
namespace avx2 {
extern const FewRowsTable few_rows_table;
}
namespace avx512 {
extern const FewRowsTable few_rows_table;
}
namespace avx512_bf16 {
extern const FewRowsTable few_rows_table;
}

}  // namespace strobe
