#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// out[i] = x[indices[i]]: rows of a matrix, such as each sequence's last position.
// x and out are alike, f32, f16 or bf16, contiguous, and do not overlap.
//
// An index that x does not have throws Error where the host can read it. In the memory of a GPU it
// cannot: such a row of out is NaN.
struct GatherRows {
  Tensor x;        // [rows, C]
  Tensor indices;  // [count] i32 in [0, rows)
  Tensor out;      // [count, C] like x   set
};

void gather_rows(Context& ctx, const GatherRows& args);

struct GatherRowsImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const GatherRows&);
};
std::span<const GatherRowsImpl> gather_rows_impls();  // of all devices
std::span<const GatherRowsImpl> gather_rows_impls_cpu();
std::span<const GatherRowsImpl> gather_rows_impls_cuda();

}  // namespace strobe
