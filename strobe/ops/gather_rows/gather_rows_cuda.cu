// gather_rows_kernel
//
// Computes    out[i] = x[indices[i]]
// Shapes      x [rows, C]   indices [count]   out [count, C]
// Mapping     one block a row, kWidth neighbouring columns a thread at a time
// Requires    with kWidth = 16 bytes: rows of whole vectors at multiples of 16 bytes
// Numerics    a copy; a row whose index x does not have is NaN
// Cost        reads and writes each row once
#include "strobe/gpu/cuda_row.h"
#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/ops/gather_rows/gather_rows.h"

namespace strobe {
namespace {

constexpr int kThreads = 128;

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gather_rows_kernel(const T* x, const int32_t* indices, T* out, int64_t rows, int64_t columns) {
  const int64_t index = indices[blockIdx.x];
  const bool is_row = index >= 0 && index < rows;
  const T* from = x + index * columns;
  T* to = out + blockIdx.x * columns;
  for (int64_t c = threadIdx.x * kWidth; c < columns; c += kThreads * kWidth) {
    Vector<T, kWidth> vector;
    if (is_row) {
      vector = load_vector<T, kWidth>(from + c);
    } else {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) vector.element[i] = from_float<T>(NAN);
    }
    store_vector(to + c, vector);
  }
}

void run(Context& ctx, const GatherRows& args) {
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  with_float_type(args.x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* x = args.x.as<T>();
    T* out = args.out.as<T>();
    const bool is_aligned = is_aligned_for_vectors(x, columns) && is_aligned_for_vectors(out, 0);
    launch(ctx, is_aligned ? gather_rows_kernel<T, kVectorWidth<T>> : gather_rows_kernel<T, 1>,
           {.grid = dim3(args.indices.numel()), .block = dim3(kThreads)}, x,
           args.indices.as<int32_t>(), out, rows, columns);
  });
}

}  // namespace

std::span<const GatherRowsImpl> gather_rows_impls_cuda() {
  static constexpr GatherRowsImpl kRows[] = {{"cuda", &why_not_cuda_floats, &run}};
  return kRows;
}

}  // namespace strobe
