#include "strobe/ops/dropout_add/dropout_add.h"

namespace strobe {
namespace {

void validate(const Dropout& dropout) {
  check(dropout.threshold < 256, "dropout threshold is ", dropout.threshold,
        ", allowed is 0 to 255");
}

const DropoutAddImpl& select_dropout_add(const Context& ctx, DType dtype) {
  return select("dropout_add", dropout_add_impls(), dtype, ctx.device(), ctx.wish("dropout_add"));
}

}  // namespace

void dropout_add_forward(Context& ctx, const DropoutAddForward& args) {
  validate(args.dropout);
  check_contiguous("dropout_add x", args.x, args.x.dtype, args.x.shape);
  if (args.residual.has_data()) {
    check_contiguous("dropout_add residual", args.residual, args.x.dtype, args.x.shape);
  }
  check_contiguous("dropout_add y", args.y, args.x.dtype, args.x.shape);
  select_dropout_add(ctx, args.x.dtype).forward(ctx, args);
}

void dropout_add_backward(Context& ctx, const DropoutAddBackward& args) {
  validate(args.dropout);
  check_contiguous("dropout_add dy", args.dy, args.dy.dtype, args.dy.shape);
  check_contiguous("dropout_add dx", args.dx, args.dy.dtype, args.dy.shape);
  select_dropout_add(ctx, args.dy.dtype).backward(ctx, args);
}

std::span<const DropoutAddImpl> dropout_add_impls() {
  static const auto rows = join_impls(dropout_add_impls_cpu(), dropout_add_impls_cuda());
  return rows;
}

}  // namespace strobe
