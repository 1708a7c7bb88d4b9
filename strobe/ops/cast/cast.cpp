#include "strobe/ops/cast/cast.h"

namespace strobe {

void cast(Context& ctx, const Cast& args) {
  for (const Tensor* tensor : {&args.from, &args.to}) {
    check(tensor->dtype != DType::i32, "cast of ", args.from.dtype, " to ", args.to.dtype,
          ", allowed are f32, f16 and bf16");
  }
  check_contiguous("cast from", args.from, args.from.dtype, args.from.shape);
  check_contiguous("cast to", args.to, args.to.dtype, args.from.shape);
  select("cast", cast_impls(), args.from.dtype, ctx.device(), ctx.wish("cast")).run(ctx, args);
}

}  // namespace strobe
