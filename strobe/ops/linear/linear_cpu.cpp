// The CPU implementations of linear: oneDNN multiplies, and its post-operations add the bias, apply
// GELU or accumulate where that can be fused. Few rows have kernels of their own.
#include <algorithm>

#include "strobe/core/parallel.h"
#include "strobe/ops/linear/linear.h"
#include "strobe/ops/linear/linear_few_rows.h"
#include "strobe/ops/linear/linear_kernels.h"
#include "strobe/simd/cpu_row.h"
#include "strobe/simd/onednn_matmul.h"

namespace strobe {
namespace {

constexpr int64_t kColumnGrain = 128;  // columns of the bias's gradient: whole cache lines

// A vocabulary's columns go through the backward pass in pieces of about this many: then a piece of
// dy and of the weight stay in the cache for both of its products. With GPT-2's head, 256 rows, dx
// became 1.6 times as fast so, and dweight 1.2 times (f32, one Zen 5 core).
constexpr int64_t kPieceColumns = 8192;

template <class T>
void apply_gelu(const LinearKernels<T>& kernels, const Tensor& x, const Tensor& y) {
  parallel_ranges(x.shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.gelu(x.as<T>() + row * x.strides[0], y.as<T>() + row * y.strides[0], x.shape[1]);
    }
  });
}

template <class T>
void apply_gelu_backward(const LinearKernels<T>& kernels, const Tensor& x, const Tensor& dy) {
  parallel_ranges(x.shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.multiply_by_gelu_derivative(x.as<T>() + row * x.strides[0],
                                          dy.as<T>() + row * dy.strides[0], x.shape[1]);
    }
  });
}

template <class T>
void round_rows(const LinearKernels<T>& kernels, const Tensor& sums, const Tensor& y) {
  parallel_ranges(sums.shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.round(sums.as<float>() + row * sums.strides[0], y.as<T>() + row * y.strides[0],
                    sums.shape[1]);
    }
  });
}

template <class T>
void sum_columns(const LinearKernels<T>& kernels, const Tensor& x, const Tensor& sums,
                 bool accumulate) {
  parallel_ranges(x.shape[1], kColumnGrain, [&](int64_t begin, int64_t end) {
    kernels.sum_columns(x.as<T>() + begin, x.strides[0], x.shape[0], sums.as<float>() + begin,
                        end - begin, accumulate);
  });
}

void multiply_forward(Context& ctx, const LinearForward& args, const FewRowsTable& few_rows) {
  if (args.weight.dtype != args.x.dtype) return widened_forward(ctx, args, few_rows);
  onednn_matmul(ctx,
                {.a = args.x, .b = args.weight, .c = args.y, .bias = args.bias, .gelu = args.gelu});
}

template <const KernelTable<LinearKernels>& kKernels, const FewRowsTable& kFewRows>
void forward(Context& ctx, const LinearForward& args) {
  if (has_few_rows(args)) return few_rows_forward(ctx, args, kFewRows);
  if (!args.pre_activation.has_data()) return multiply_forward(ctx, args, kFewRows);
  LinearForward linear = args;
  linear.y = args.pre_activation;
  linear.gelu = false;
  multiply_forward(ctx, linear, kFewRows);
  with_f32_or_bf16(args.y.dtype, [&](auto type) {
    apply_gelu(kKernels.of<decltype(type)>(), args.pre_activation, args.y);
  });
}

// dx = dy·weightᵀ and dweight (+)= xᵀ·dy, for all columns at once.
void multiply_backward(Context& ctx, const LinearBackward& args) {
  if (args.dx.has_data()) {
    onednn_matmul(ctx, {.a = args.dy, .b = args.weight.transpose(0, 1), .c = args.dx});
  }
  onednn_matmul(ctx, {.a = args.x.transpose(0, 1),
                      .b = args.dy,
                      .c = args.dweight,
                      .accumulate = args.accumulate});
}

// The same, piece by piece. `dx_sum` is dx, or an f32 buffer where dx is of a narrower type.
void multiply_backward_in_pieces(Context& ctx, const LinearBackward& args, const Tensor& dx_sum) {
  const int64_t columns = args.weight.shape[1];
  const int64_t pieces = (columns + kPieceColumns - 1) / kPieceColumns;
  const int64_t width = (columns / pieces + 64) / 64 * 64;  // whole cache lines
  for (int64_t begin = 0; begin < columns; begin += width) {
    const int64_t end = std::min(columns, begin + width);
    const Tensor dy = args.dy.slice(1, begin, end);
    if (dx_sum.has_data()) {
      onednn_matmul(ctx, {.a = dy,
                          .b = args.weight.slice(1, begin, end).transpose(0, 1),
                          .c = dx_sum,
                          .accumulate = begin > 0});
    }
    onednn_matmul(ctx, {.a = args.x.transpose(0, 1),
                        .b = dy,
                        .c = args.dweight.slice(1, begin, end),
                        .accumulate = args.accumulate});
  }
}

template <class T>
void run_backward(Context& ctx, const LinearKernels<T>& kernels, const LinearBackward& args) {
  if (args.weight.shape[1] < 2 * kPieceColumns) {
    multiply_backward(ctx, args);
  } else if (!args.dx.has_data() || args.dx.dtype == DType::f32) {
    multiply_backward_in_pieces(ctx, args, args.dx);
  } else {
    const Arena::Scope scope(ctx.arena());
    const Tensor sum = ctx.arena().allocate(MemoryUse::workspace, DType::f32, args.dx.shape);
    multiply_backward_in_pieces(ctx, args, sum);
    round_rows(kernels, sum, args.dx);
  }
  if (args.gelu_input.has_data()) apply_gelu_backward(kernels, args.gelu_input, args.dx);
  if (args.dbias.has_data()) sum_columns(kernels, args.dy, args.dbias, args.accumulate);
}

template <const KernelTable<LinearKernels>& kKernels>
void backward(Context& ctx, const LinearBackward& args) {
  with_f32_or_bf16(args.dy.dtype,
                   [&](auto type) { run_backward(ctx, kKernels.of<decltype(type)>(), args); });
}

template <Isa kIsa>
std::string why_not(DType dtype, const Device& device) {
  std::string reason = why_not_f32_bf16<kIsa>(dtype, device);
  if (reason.empty() && dtype == DType::bf16 && cpu_info().isa < Isa::avx512) {
    reason = "oneDNN multiplies bf16 with AVX-512 only";
  }
  return reason;
}

template <Isa kIsa, const KernelTable<LinearKernels>& kKernels, const FewRowsTable& kFewRows>
constexpr LinearImpl row(std::string_view name) {
  return {name, &why_not<kIsa>, &forward<kKernels, kFewRows>, &backward<kKernels>};
}

}  // namespace

std::span<const LinearImpl> linear_impls_cpu() {
  static constexpr LinearImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::linear_kernels, avx512_bf16::few_rows_table>(
          "cpu_onednn_avx512_bf16"),
      row<Isa::avx512, avx512::linear_kernels, avx512::few_rows_table>("cpu_onednn_avx512"),
      row<Isa::avx2, avx2::linear_kernels, avx2::few_rows_table>("cpu_onednn_avx2"),
      row<Isa::scalar, scalar::linear_kernels, scalar::few_rows_table>("cpu_onednn_scalar"),
  };
  return kRows;
}

}  // namespace strobe
