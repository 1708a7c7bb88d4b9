#include "strobe/ops/grad_scaler/grad_scaler.h"

namespace strobe {
namespace {

void validate(const GradScaler& args) {
  const Shape one = {1};
  check_tensor("grad_scaler norm", args.norm, DType::f32, one);
  check_tensor("grad_scaler loss_scale", args.state.loss_scale, DType::f32, one);
  check_tensor("grad_scaler finite_steps", args.state.finite_steps, DType::i32, one);
  check_tensor("grad_scaler steps_taken", args.state.steps_taken, DType::i32, one);
  check_tensor("grad_scaler steps_skipped", args.state.steps_skipped, DType::i32, one);
  check_tensor("grad_scaler unscaled_norm", args.unscaled_norm, DType::f32, one);
  check_tensor("grad_scaler gradient_scale", args.gradient_scale, DType::f32, one);
  check_tensor("grad_scaler is_skipped", args.is_skipped, DType::i32, one);
  check(args.max_norm >= 0, "the largest gradient norm is ", args.max_norm,
        ", it must not be negative");
  check(args.growth_factor >= 1, "grad_scaler growth_factor is ", args.growth_factor,
        ", it must be at least 1");
  check(args.backoff_factor > 0 && args.backoff_factor <= 1, "grad_scaler backoff_factor is ",
        args.backoff_factor, ", allowed is (0, 1]");
  check(args.growth_interval >= 0, "grad_scaler growth_interval is ", args.growth_interval,
        ", it must not be negative");
}

}  // namespace

void update_grad_scaler(Context& ctx, const GradScaler& args) {
  check_on_device(ctx, {{"grad_scaler norm", args.norm},
                        {"grad_scaler loss_scale", args.state.loss_scale},
                        {"grad_scaler finite_steps", args.state.finite_steps},
                        {"grad_scaler steps_taken", args.state.steps_taken},
                        {"grad_scaler steps_skipped", args.state.steps_skipped},
                        {"grad_scaler unscaled_norm", args.unscaled_norm},
                        {"grad_scaler gradient_scale", args.gradient_scale},
                        {"grad_scaler is_skipped", args.is_skipped}});
  validate(args);
  select("grad_scaler", grad_scaler_impls(), DType::f32, ctx.device(), ctx.wish("grad_scaler"))
      .run(ctx, args);
}

std::span<const GradScalerImpl> grad_scaler_impls() {
  static const auto rows = join_impls(grad_scaler_impls_cpu(), grad_scaler_impls_cuda());
  return rows;
}

}  // namespace strobe
