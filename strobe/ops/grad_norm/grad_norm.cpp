#include "strobe/ops/grad_norm/grad_norm.h"

namespace strobe {

double grad_norm(Context& ctx, std::span<const Tensor> gradients) {
  for (const Tensor& gradient : gradients) {
    check_contiguous("grad_norm gradient", gradient, DType::f32, gradient.shape);
  }
  return select("grad_norm", grad_norm_impls(), DType::f32, ctx.device(), ctx.wish("grad_norm"))
      .run(ctx, gradients);
}

float clip_factor(double norm, double max_norm) {
  check(max_norm >= 0, "the largest gradient norm is ", max_norm, ", it must not be negative");
  if (max_norm == 0) return 1;
  const double factor = max_norm / (norm + 1e-6);
  return factor >= 1 ? 1 : static_cast<float>(factor);  // NaN stays NaN
}

std::span<const GradNormImpl> grad_norm_impls() {
  static const auto rows = join_impls(grad_norm_impls_cpu(), grad_norm_impls_cuda());
  return rows;
}

}  // namespace strobe
