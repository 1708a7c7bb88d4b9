#include "strobe/ops/grad_norm/grad_norm.h"

namespace strobe {

void grad_norm(Context& ctx, std::span<const Tensor> gradients, const Tensor& norm) {
  for (const Tensor& gradient : gradients) {
    check_on_device(ctx, {{"grad_norm gradient", gradient}});
    check_contiguous("grad_norm gradient", gradient, DType::f32, gradient.shape);
  }
  check_on_device(ctx, {{"grad_norm norm", norm}});
  check_tensor("grad_norm norm", norm, DType::f32, {1});
  select("grad_norm", grad_norm_impls(), DType::f32, ctx.device(), ctx.wish("grad_norm"))
      .run(ctx, gradients, norm);
}

std::span<const GradNormImpl> grad_norm_impls() {
  static const auto rows = join_impls(grad_norm_impls_cpu(), grad_norm_impls_cuda());
  return rows;
}

}  // namespace strobe
