#include "strobe/ops/linear/linear_few_rows_cuda.h"

#include <algorithm>

#include "strobe/ops/linear/linear_few_rows_cuda.cuh"

namespace strobe {
namespace {

template <class T>
bool can_read_vectors(const Tensor& t, int64_t stride) {
  constexpr int64_t kBytes = kFewRowsWidth * sizeof(T);
  return reinterpret_cast<uintptr_t>(t.data) % kBytes == 0 && stride % kFewRowsWidth == 0;
}

template <class X, class W>
void run(Context& ctx, const LinearForward& args) {
  const bool by_rows = args.weight.strides[1] == 1;
  FewRows<X, W> call(args);
  call.is_aligned = can_read_vectors<X>(args.x, call.rows == 1 ? 0 : call.x_stride) &&
                    can_read_vectors<W>(args.weight, call.weight_stride);
  if (by_rows) {
    launch_few_rows_by_rows(ctx, call);
  } else {
    launch_few_rows_by_columns(ctx, call);
  }
}

}  // namespace

void few_rows_forward_cuda(Context& ctx, const LinearForward& args) {
  const int64_t rows = args.x.shape[0];
  for (int64_t begin = 0; begin < rows; begin += kMostFewRowsCuda) {
    const int64_t end = std::min(rows, begin + kMostFewRowsCuda);
    LinearForward part = args;
    part.x = args.x.slice(0, begin, end);
    part.y = args.y.slice(0, begin, end);
    if (args.pre_activation.has_data()) {
      part.pre_activation = args.pre_activation.slice(0, begin, end);
    }
    with_float_type(args.weight.dtype, [&](auto type) {
      using W = decltype(type);
      args.x.dtype == args.weight.dtype ? run<W, W>(ctx, part) : run<float, W>(ctx, part);
    });
  }
}

}  // namespace strobe
