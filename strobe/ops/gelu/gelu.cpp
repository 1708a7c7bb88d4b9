#include "strobe/ops/gelu/gelu.h"

namespace strobe {
namespace {

const GeluImpl& select_gelu(const Context& ctx, DType dtype) {
  return select("gelu", gelu_impls(), dtype, ctx.device(), ctx.wish("gelu"));
}

}  // namespace

void gelu_forward(Context& ctx, const GeluForward& args) {
  check_on_device(ctx, {{"gelu x", args.x}, {"gelu y", args.y}});
  check_contiguous("gelu x", args.x, args.x.dtype, args.x.shape);
  check_contiguous("gelu y", args.y, args.x.dtype, args.x.shape);
  select_gelu(ctx, args.x.dtype).forward(ctx, args);
}

void gelu_backward(Context& ctx, const GeluBackward& args) {
  check_on_device(ctx, {{"gelu x", args.x}, {"gelu dy", args.dy}, {"gelu dx", args.dx}});
  check_contiguous("gelu x", args.x, args.x.dtype, args.x.shape);
  check_contiguous("gelu dy", args.dy, args.x.dtype, args.x.shape);
  check_contiguous("gelu dx", args.dx, args.x.dtype, args.x.shape);
  select_gelu(ctx, args.x.dtype).backward(ctx, args);
}

std::span<const GeluImpl> gelu_impls() {
  static const auto rows = join_impls(gelu_impls_cpu(), gelu_impls_cuda());
  return rows;
}

}  // namespace strobe
