#include "strobe/ops/adamw/adamw.h"

namespace strobe {
namespace {

void validate(const AdamWParameter& p) {
  const Shape& shape = p.master.shape;
  check_contiguous("adamw master", p.master, DType::f32, shape);
  check_contiguous("adamw gradient", p.gradient, DType::f32, shape);
  check_contiguous("adamw m", p.m, DType::f32, shape);
  check_contiguous("adamw v", p.v, DType::f32, shape);
  if (!p.working.has_data()) return;
  check(p.working.dtype == DType::f16 || p.working.dtype == DType::bf16, "adamw working is ",
        p.working.dtype, ", allowed are f16 and bf16");
  check_contiguous("adamw working", p.working, p.working.dtype, shape);
}

void validate(const AdamWStep& step) {
  check_tensor("adamw learning_rate", step.learning_rate, DType::f32, {1});
  check_tensor("adamw gradient_scale", step.gradient_scale, DType::f32, {1});
  check_tensor("adamw step", step.step, DType::i32, {1});
  check_tensor("adamw is_skipped", step.is_skipped, DType::i32, {1});
  check(step.beta1 >= 0 && step.beta1 < 1, "adamw beta1 is ", step.beta1, ", allowed is [0, 1)");
  check(step.beta2 >= 0 && step.beta2 < 1, "adamw beta2 is ", step.beta2, ", allowed is [0, 1)");
  check(step.epsilon > 0, "adamw epsilon is ", step.epsilon, ", it must be positive");
  check(step.weight_decay >= 0, "adamw weight_decay is ", step.weight_decay,
        ", it must not be negative");
}

}  // namespace

void adamw(Context& ctx, std::span<const AdamWParameter> parameters, const AdamWStep& step) {
  for (const AdamWParameter& p : parameters) {
    check_on_device(ctx, {{"adamw master", p.master},
                          {"adamw working", p.working},
                          {"adamw gradient", p.gradient},
                          {"adamw m", p.m},
                          {"adamw v", p.v}});
    validate(p);
  }
  check_on_device(ctx, {{"adamw learning_rate", step.learning_rate},
                        {"adamw gradient_scale", step.gradient_scale},
                        {"adamw step", step.step},
                        {"adamw is_skipped", step.is_skipped}});
  validate(step);
  select("adamw", adamw_impls(), DType::f32, ctx.device(), ctx.wish("adamw"))
      .run(ctx, parameters, step);
}

std::span<const AdamWImpl> adamw_impls() {
  static const auto rows = join_impls(adamw_impls_cpu(), adamw_impls_cuda());
  return rows;
}

}  // namespace strobe
