// The CUDA implementations of linear: cuBLASLt multiplies, and its epilogues add the bias, apply
// GELU or its derivative. Few rows have kernels of their own, and so has the bias's gradient: the
// library's epilogue for it costs more than reading dy once more (H100, bf16, 32768 rows: 0.08
// against 0.05 ms for qkv, 0.10 against 0.07 for fc).
#include "strobe/gpu/cublas_matmul.h"
#include "strobe/gpu/cuda_row.h"
#include "strobe/ops/linear/linear.h"
#include "strobe/ops/linear/linear_cuda.h"
#include "strobe/ops/linear/linear_few_rows_cuda.h"
#include "strobe/ops/linear/linear_mma_rows_cuda.h"

namespace strobe {
namespace {

// The library's fast kernels take 16-bit matrices of multiples of 8 columns only. Others are cut
// into what is one and the few columns that are left: of GPT-2's 50257, 50256 and 1. With 2048 rows
// the head's products take 0.22 (forward), 0.21 (dx) and 0.26 ms (dweight) so, and the columns left
// 0.01 each; uncut 1.5, 1.2 and 0.4 (H100, bf16).
constexpr int64_t kWholeColumns = 8;
constexpr int64_t kLeastCutColumns = 512;

// Where to cut: at the end, if it is not worth it.
int64_t whole_columns(const Tensor& operand, int64_t columns) {
  const bool is_cut = size_of(operand.dtype) == 2 && columns >= kLeastCutColumns;
  return is_cut ? columns - columns % kWholeColumns : columns;
}

// The columns [begin, end) of an optional tensor.
Tensor columns_of(const Tensor& t, int64_t begin, int64_t end) {
  return t.has_data() ? t.slice(t.rank() - 1, begin, end) : t;
}

CublasMatmul columns_of(const CublasMatmul& product, int64_t begin, int64_t end) {
  CublasMatmul part = product;
  part.b = columns_of(product.b, begin, end);
  part.c = columns_of(product.c, begin, end);
  part.bias = columns_of(product.bias, begin, end);
  part.pre_activation = columns_of(product.pre_activation, begin, end);
  return part;
}

// In two parts where some columns are left over.
void multiply(Context& ctx, const CublasMatmul& product) {
  const int64_t columns = product.b.shape[1], whole = whole_columns(product.b, columns);
  if (whole < columns) cublas_matmul(ctx, columns_of(product, whole, columns));
  cublas_matmul(ctx, columns_of(product, 0, whole));
}

// The library's tanh is right to 5e-6: for results of fewer bits than f32. And it wants the other
// matrix of an epilogue aligned.
bool can_fuse_gelu(const Tensor& result, const Tensor& other, bool tf32) {
  const auto is_aligned = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.strides[0] % kWholeColumns == 0 &&
           t.shape[1] % kWholeColumns == 0;
  };
  return (result.dtype != DType::f32 || tf32) && is_aligned(result) &&
         (!other.has_data() || is_aligned(other));
}

template <bool kTf32>
void forward(Context& ctx, const LinearForward& args) {
  if (can_use_mma_rows(ctx, args)) return mma_rows_forward(ctx, args);
  if (args.x.shape[0] <= kMostFewRowsCuda || args.weight.dtype != args.x.dtype) {
    return few_rows_forward_cuda(ctx, args);
  }
  if (args.gelu && !can_fuse_gelu(args.y, args.pre_activation, kTf32)) {
    LinearForward linear = args;
    linear.y = args.pre_activation.has_data() ? args.pre_activation : args.y;
    linear.pre_activation = {};
    linear.gelu = false;
    forward<kTf32>(ctx, linear);
    return apply_gelu(ctx, linear.y, args.y);
  }
  const Arena::Scope scope(ctx.arena());
  multiply(ctx, {.a = args.x,
                 .b = args.weight,
                 .c = args.y,
                 .bias = rounded_bias(ctx, args.bias, args.y.dtype),
                 .gelu = args.gelu,
                 .pre_activation = args.pre_activation,
                 .tf32 = kTf32});
}

// dx = dy·weightᵀ, and what GELU before the layer makes of it.
void input_gradient(Context& ctx, const LinearBackward& args, bool tf32) {
  CublasMatmul product = {.a = args.dy,
                          .b = args.weight.transpose(0, 1),
                          .c = args.dx,
                          .gelu_input = args.gelu_input,
                          .tf32 = tf32};
  if (args.gelu_input.has_data() && !can_fuse_gelu(args.dx, args.gelu_input, tf32)) {
    product.gelu_input = {};
    cublas_matmul(ctx, product);
    return multiply_by_gelu_derivative(ctx, args.gelu_input, args.dx);
  }
  const int64_t columns = args.dy.shape[1], whole = whole_columns(args.dy, columns);
  if (whole == columns || args.gelu_input.has_data()) return cublas_matmul(ctx, product);
  const auto part = [&](int64_t begin, int64_t end) {
    CublasMatmul of_columns = product;
    of_columns.a = product.a.slice(1, begin, end);
    of_columns.b = product.b.slice(0, begin, end);
    return of_columns;
  };
  CublasMatmul most = part(0, whole);
  cublas_measure(ctx, most);
  cublas_matmul(ctx, part(whole, columns));
  most.accumulate = true;
  cublas_matmul(ctx, most);
}

template <bool kTf32>
void backward(Context& ctx, const LinearBackward& args) {
  if (args.dx.has_data()) input_gradient(ctx, args, kTf32);
  multiply(ctx, {.a = args.x.transpose(0, 1),
                 .b = args.dy,
                 .c = args.dweight,
                 .accumulate = args.accumulate,
                 .tf32 = kTf32});
  if (args.dbias.has_data()) sum_columns(ctx, args.dy, args.dbias, args.accumulate);
}

// bf16 needs the tensor cores of sm_80.
std::string why_not(DType dtype, const Device& device) {
  std::string reason = why_not_cuda_floats(dtype, device);
  if (reason.empty() && dtype == DType::bf16) reason = why_not_cuda(device, 80);
  return reason;
}

std::string why_not_tf32(DType dtype, const Device& device) {
  if (dtype != DType::f32) return fmt::format("takes f32, not {}", dtype);
  return why_not_cuda(device, 80);
}

}  // namespace

std::span<const LinearImpl> linear_impls_cuda() {
  static constexpr LinearImpl kRows[] = {
      {"cuda", &why_not, &forward<false>, &backward<false>},
      {"cuda_tf32", &why_not_tf32, &forward<true>, &backward<true>},
  };
  return kRows;
}

}  // namespace strobe
