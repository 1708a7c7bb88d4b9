#include "strobe/ops/layernorm/layernorm.h"

namespace strobe {
namespace {

void validate(const Dropout& dropout) {
  check(dropout.threshold < 256, "layernorm dropout threshold is ", dropout.threshold,
        ", allowed is 0 to 255");
}

void validate(const LayernormForward& args) {
  check(args.x.rank() == 2, "layernorm x has shape ", args.x.shape, ", expected [rows, C]");
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  check(columns >= 1, "layernorm x has shape ", args.x.shape, ", C must be at least 1");
  check(args.epsilon > 0, "layernorm epsilon is ", args.epsilon, ", it must be positive");
  check_contiguous("layernorm x", args.x, args.x.dtype, {rows, columns});
  check_contiguous("layernorm weight", args.weight, DType::f32, {columns});
  check_contiguous("layernorm bias", args.bias, DType::f32, {columns});
  check_contiguous("layernorm y", args.y, args.x.dtype, {rows, columns});
  check_contiguous("layernorm mean", args.mean, DType::f32, {rows});
  check_contiguous("layernorm rstd", args.rstd, DType::f32, {rows});
  check(args.branch.has_data() || !(args.residual.has_data() || args.dropout.active()),
        "layernorm residual and dropout are given without branch");
  if (args.branch.has_data()) {
    check_contiguous("layernorm branch", args.branch, args.x.dtype, {rows, columns});
    validate(args.dropout);
  }
  if (args.residual.has_data()) {
    check_contiguous("layernorm residual", args.residual, args.x.dtype, {rows, columns});
  }
}

void validate(const LayernormBackward& args) {
  check(args.x.rank() == 2, "layernorm x has shape ", args.x.shape, ", expected [rows, C]");
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  check(columns >= 1, "layernorm x has shape ", args.x.shape, ", C must be at least 1");
  check_contiguous("layernorm x", args.x, args.x.dtype, {rows, columns});
  check_contiguous("layernorm weight", args.weight, DType::f32, {columns});
  check_contiguous("layernorm mean", args.mean, DType::f32, {rows});
  check_contiguous("layernorm rstd", args.rstd, DType::f32, {rows});
  check_contiguous("layernorm dy", args.dy, args.x.dtype, {rows, columns});
  if (args.dresidual.has_data()) {
    check_contiguous("layernorm dresidual", args.dresidual, args.x.dtype, {rows, columns});
  }
  check_contiguous("layernorm dx", args.dx, args.x.dtype, {rows, columns});
  check_contiguous("layernorm dweight", args.dweight, DType::f32, {columns});
  check_contiguous("layernorm dbias", args.dbias, DType::f32, {columns});
  check(args.dbranch.has_data() || !args.dropout.active(),
        "layernorm dropout is given without dbranch");
  if (args.dbranch.has_data()) {
    check_contiguous("layernorm dbranch", args.dbranch, args.x.dtype, {rows, columns});
    validate(args.dropout);
  }
}

const LayernormImpl& select_layernorm(const Context& ctx, DType dtype) {
  return select("layernorm", layernorm_impls(), dtype, ctx.device(), ctx.wish("layernorm"));
}

}  // namespace

void layernorm_forward(Context& ctx, const LayernormForward& args) {
  check_on_device(ctx, {{"layernorm x", args.x},
                        {"layernorm weight", args.weight},
                        {"layernorm bias", args.bias},
                        {"layernorm y", args.y},
                        {"layernorm mean", args.mean},
                        {"layernorm rstd", args.rstd},
                        {"layernorm branch", args.branch},
                        {"layernorm residual", args.residual}});
  validate(args);
  select_layernorm(ctx, args.x.dtype).forward(ctx, args);
}

void layernorm_backward(Context& ctx, const LayernormBackward& args) {
  check_on_device(ctx, {{"layernorm x", args.x},
                        {"layernorm weight", args.weight},
                        {"layernorm mean", args.mean},
                        {"layernorm rstd", args.rstd},
                        {"layernorm dy", args.dy},
                        {"layernorm dresidual", args.dresidual},
                        {"layernorm dx", args.dx},
                        {"layernorm dweight", args.dweight},
                        {"layernorm dbias", args.dbias},
                        {"layernorm dbranch", args.dbranch}});
  validate(args);
  select_layernorm(ctx, args.x.dtype).backward(ctx, args);
}

std::span<const LayernormImpl> layernorm_impls() {
  static const auto rows = join_impls(layernorm_impls_cpu(), layernorm_impls_cuda());
  return rows;
}

}  // namespace strobe
