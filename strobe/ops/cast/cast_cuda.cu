// cast_kernel
//
// Computes    to = from, rounded once to nearest even
// Shapes      rows of `columns` contiguous elements, counted over up to kMostOuter dimensions, each
//             tensor with strides of its own; dimensions that lie in one piece in both are joined
//             beforehand, so tensors without gaps are one row
// Mapping     a thread takes kWidth neighbours of a row
// Requires    nothing; addresses and strides that are multiples of kWidth elements are moved in
//             vectors
// Cost        reads and writes every element once, at the speed of the memory
#include <array>

#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/ops/cast/cast.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int kVectorWidthOfCast = 8;
constexpr int kMostOuter = Shape::kMaxRank - 1;

struct CastRows {
  int64_t columns = 1;
  int64_t sizes[kMostOuter] = {1, 1, 1, 1};  // of the dimensions outside rows, innermost first
  int64_t from_strides[kMostOuter] = {};
  int64_t to_strides[kMostOuter] = {};
  int outer = 0;

  int64_t rows() const {
    int64_t count = 1;
    for (const int64_t size : sizes) count *= size;
    return count;
  }
};

template <class From, class To, int kWidth>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(const From* from, To* to, CastRows shape, int64_t groups_of_row, int64_t groups) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= groups) return;
  int64_t row = shape.outer == 0 ? 0 : group / groups_of_row;
  const int64_t column = (group - row * groups_of_row) * kWidth;
  int64_t from_offset = column, to_offset = column;
#pragma unroll
  for (int i = 0; i < kMostOuter; ++i) {
    if (i >= shape.outer) break;
    const int64_t index = row % shape.sizes[i];
    row /= shape.sizes[i];
    from_offset += index * shape.from_strides[i];
    to_offset += index * shape.to_strides[i];
  }
  if (column + kWidth <= shape.columns) {
    const auto values = load_vector<From, kWidth>(from + from_offset);
    Vector<To, kWidth> rounded;
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      rounded.element[i] = from_float<To>(to_float(values.element[i]));
    store_vector(to + to_offset, rounded);
  } else {
    for (int64_t i = 0; i < shape.columns - column; ++i) {
      to[to_offset + i] = from_float<To>(to_float(from[from_offset + i]));
    }
  }
}

// Joins a dimension to what is inside it where both tensors go on there without a gap.
CastRows rows_of(const Tensor& from, const Tensor& to) {
  CastRows rows;
  bool is_inside_row = true;
  for (int dim = from.rank() - 1; dim >= 0; --dim) {
    const int64_t size = from.shape[dim];
    if (size == 1) continue;
    if (is_inside_row && from.strides[dim] == rows.columns && to.strides[dim] == rows.columns) {
      rows.columns *= size;
      continue;
    }
    is_inside_row = false;
    rows.sizes[rows.outer] = size;
    rows.from_strides[rows.outer] = from.strides[dim];
    rows.to_strides[rows.outer++] = to.strides[dim];
  }
  return rows;
}

bool is_aligned(const Tensor& tensor, const int64_t (&strides)[kMostOuter]) {
  bool aligned =
      reinterpret_cast<uintptr_t>(tensor.data) % (kVectorWidthOfCast * size_of(tensor.dtype)) == 0;
  for (const int64_t stride : strides) aligned = aligned && stride % kVectorWidthOfCast == 0;
  return aligned;
}

template <class From, class To, int kWidth>
void launch_cast(Context& ctx, const Cast& args, const CastRows& rows) {
  const int64_t groups_of_row = (rows.columns + kWidth - 1) / kWidth;
  const int64_t groups = rows.rows() * groups_of_row;
  const dim3 grid(static_cast<unsigned>((groups + kThreads - 1) / kThreads));
  launch(ctx, cast_kernel<From, To, kWidth>, {.grid = grid, .block = kThreads},
         args.from.as<From>(), args.to.as<To>(), rows, groups_of_row, groups);
}

void run(Context& ctx, const Cast& args) {
  if (args.from.numel() == 0) return;
  const CastRows rows = rows_of(args.from, args.to);
  const bool aligned =
      is_aligned(args.from, rows.from_strides) && is_aligned(args.to, rows.to_strides);
  with_float_type(args.from.dtype, [&](auto from_type) {
    with_float_type(args.to.dtype, [&](auto to_type) {
      using From = decltype(from_type);
      using To = decltype(to_type);
      if (aligned) {
        launch_cast<From, To, kVectorWidthOfCast>(ctx, args, rows);
      } else {
        launch_cast<From, To, 1>(ctx, args, rows);
      }
    });
  });
}

std::string why_not(DType, const Device& device) { return why_not_cuda(device); }

}  // namespace

std::span<const CastImpl> cast_impls_cuda() {
  static constexpr CastImpl kRows[] = {{"cuda", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
