#include "strobe/ops/linear/linear.h"

namespace strobe {
namespace {

// A [rows, columns] matrix whose rows are contiguous and may have gaps between them.
void check_rows(const char* name, const Tensor& t, DType dtype, const Shape& shape) {
  check_tensor(name, t, dtype, shape);
  check((t.strides[1] == 1 || t.shape[1] == 1) && (t.strides[0] >= t.shape[1] || t.shape[0] == 1),
        name, " of shape ", t.shape, " has strides ", t.strides,
        ", rows must be contiguous and must not overlap");
}

// A matrix stored by rows or by columns.
void check_matrix(const char* name, const Tensor& t, DType dtype, const Shape& shape) {
  check_tensor(name, t, dtype, shape);
  const bool by_rows = t.strides[1] == 1 && t.strides[0] >= t.shape[1];
  const bool by_columns = t.strides[0] == 1 && t.strides[1] >= t.shape[0];
  check(by_rows || by_columns || t.is_contiguous(), name, " of shape ", t.shape, " has strides ",
        t.strides, ", one of its dimensions must be contiguous");
}

struct Sizes {
  int64_t rows, inner, columns;  // M, K, N
};

Sizes sizes_of(const Tensor& x, const Tensor& weight) {
  check(x.rank() == 2 && weight.rank() == 2, "linear x has shape ", x.shape, " and weight ",
        weight.shape, ", expected [M, K] and [K, N]");
  const Sizes s = {x.shape[0], x.shape[1], weight.shape[1]};
  check(s.rows >= 1 && s.inner >= 1 && s.columns >= 1, "linear x has shape ", x.shape,
        " and weight ", weight.shape, ", all sizes must be at least 1");
  return s;
}

void validate(const LinearForward& args) {
  const auto [rows, inner, columns] = sizes_of(args.x, args.weight);
  const DType dtype = args.x.dtype, weight_dtype = args.weight.dtype;
  check_rows("linear x", args.x, dtype, {rows, inner});
  check(weight_dtype == dtype || (dtype == DType::f32 && weight_dtype != DType::i32),
        "linear weight is ", weight_dtype, ", allowed with x in ", dtype,
        dtype == DType::f32 ? " are f32, f16 and bf16" : " is the same type");
  check_matrix("linear weight", args.weight, weight_dtype, {inner, columns});
  check(args.y.dtype == dtype || args.y.dtype == DType::f32, "linear y is ", args.y.dtype,
        ", allowed with x in ", dtype, dtype == DType::f32 ? " is f32" : " are that and f32");
  check_rows("linear y", args.y, args.y.dtype, {rows, columns});
  if (args.bias.has_data()) check_contiguous("linear bias", args.bias, DType::f32, {columns});
  if (args.pre_activation.has_data()) {
    check(args.gelu, "linear pre_activation is given without gelu");
    check_rows("linear pre_activation", args.pre_activation, args.y.dtype, {rows, columns});
  }
}

void validate(const LinearBackward& args) {
  const auto [rows, inner, columns] = sizes_of(args.x, args.weight);
  check_rows("linear x", args.x, args.x.dtype, {rows, inner});
  check_matrix("linear weight", args.weight, args.x.dtype, {inner, columns});
  check_rows("linear dy", args.dy, args.x.dtype, {rows, columns});
  if (args.dx.has_data()) check_rows("linear dx", args.dx, args.x.dtype, {rows, inner});
  if (args.gelu_input.has_data()) {
    check(args.dx.has_data(), "linear gelu_input is given without dx");
    check_rows("linear gelu_input", args.gelu_input, args.x.dtype, {rows, inner});
  }
  check_matrix("linear dweight", args.dweight, DType::f32, {inner, columns});
  if (args.dbias.has_data()) check_contiguous("linear dbias", args.dbias, DType::f32, {columns});
}

const LinearImpl& select_linear(const Context& ctx, DType dtype) {
  return select("linear", linear_impls(), dtype, ctx.device(), ctx.wish("linear"));
}

}  // namespace

void linear_forward(Context& ctx, const LinearForward& args) {
  check_on_device(ctx, {{"linear x", args.x},
                        {"linear weight", args.weight},
                        {"linear bias", args.bias},
                        {"linear y", args.y},
                        {"linear pre_activation", args.pre_activation}});
  validate(args);
  select_linear(ctx, args.x.dtype).forward(ctx, args);
}

void linear_backward(Context& ctx, const LinearBackward& args) {
  check_on_device(ctx, {{"linear x", args.x},
                        {"linear weight", args.weight},
                        {"linear dy", args.dy},
                        {"linear gelu_input", args.gelu_input},
                        {"linear dx", args.dx},
                        {"linear dweight", args.dweight},
                        {"linear dbias", args.dbias}});
  validate(args);
  select_linear(ctx, args.x.dtype).backward(ctx, args);
}

std::span<const LinearImpl> linear_impls() {
  static const auto rows = join_impls(linear_impls_cpu(), linear_impls_cuda());
  return rows;
}

}  // namespace strobe
