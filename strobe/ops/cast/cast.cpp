#include "strobe/ops/cast/cast.h"

namespace strobe {
namespace {

void check_rows(const char* name, const Tensor& tensor, const Shape& shape) {
  check_tensor(name, tensor, tensor.dtype, shape);
  const int last = tensor.rank() - 1;
  check(last < 0 || tensor.strides[last] == 1 || shape[last] == 1, name, " of shape ", shape,
        " has strides ", tensor.strides, ", the last dimension must be contiguous");
}

}  // namespace

void cast(Context& ctx, const Cast& args) {
  check_on_device(ctx, {{"cast from", args.from}, {"cast to", args.to}});
  for (const Tensor* tensor : {&args.from, &args.to}) {
    check(tensor->dtype != DType::i32, "cast of ", args.from.dtype, " to ", args.to.dtype,
          ", allowed are f32, f16 and bf16");
  }
  check_rows("cast from", args.from, args.from.shape);
  check_rows("cast to", args.to, args.from.shape);
  select("cast", cast_impls(), args.from.dtype, ctx.device(), ctx.wish("cast")).run(ctx, args);
}

std::span<const CastImpl> cast_impls() {
  static const auto rows = join_impls(cast_impls_cpu(), cast_impls_cuda());
  return rows;
}

}  // namespace strobe
