#include "strobe/ops/adamw/adamw.h"

namespace strobe {
namespace {

void validate(const AdamW& args) {
  const Shape& shape = args.master.shape;
  check_contiguous("adamw master", args.master, DType::f32, shape);
  check_contiguous("adamw gradient", args.gradient, DType::f32, shape);
  check_contiguous("adamw m", args.m, DType::f32, shape);
  check_contiguous("adamw v", args.v, DType::f32, shape);
  if (args.working.has_data()) check_contiguous("adamw working", args.working, DType::bf16, shape);
  check(args.beta1 >= 0 && args.beta1 < 1, "adamw beta1 is ", args.beta1, ", allowed is [0, 1)");
  check(args.beta2 >= 0 && args.beta2 < 1, "adamw beta2 is ", args.beta2, ", allowed is [0, 1)");
  check(args.epsilon > 0, "adamw epsilon is ", args.epsilon, ", it must be positive");
  check(args.learning_rate >= 0, "adamw learning_rate is ", args.learning_rate,
        ", it must not be negative");
  check(args.weight_decay >= 0, "adamw weight_decay is ", args.weight_decay,
        ", it must not be negative");
  check(args.step >= 1, "adamw step is ", args.step, ", steps count from 1");
}

}  // namespace

void adamw(Context& ctx, const AdamW& args) {
  validate(args);
  select("adamw", adamw_impls(), args.master.dtype, ctx.device(), ctx.wish("adamw")).run(ctx, args);
}

std::span<const AdamWImpl> adamw_impls() {
  static const auto rows = join_impls(adamw_impls_cpu(), adamw_impls_cuda());
  return rows;
}

}  // namespace strobe
