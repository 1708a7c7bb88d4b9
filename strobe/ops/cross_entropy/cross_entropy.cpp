#include "strobe/ops/cross_entropy/cross_entropy.h"

#include <cmath>

namespace strobe {
namespace {

void validate(const CrossEntropy& args) {
  check(args.logits.rank() == 2, "cross_entropy logits have shape ", args.logits.shape,
        ", expected [rows, V]");
  const int64_t rows = args.logits.shape[0], vocab = args.logits.shape[1];
  check(vocab >= 1, "cross_entropy logits have shape ", args.logits.shape,
        ", V must be at least 1");
  check_tensor("cross_entropy logits", args.logits, args.logits.dtype, {rows, vocab});
  check(args.logits.strides[1] == 1 || vocab == 1, "cross_entropy logits have strides ",
        args.logits.strides, ", the last must be 1");
  check(rows <= 1 || args.logits.strides[0] >= vocab, "cross_entropy logits of shape ",
        args.logits.shape, " have strides ", args.logits.strides, ", rows must not overlap");
  check_contiguous("cross_entropy labels", args.labels, DType::i32, {rows});
  check_contiguous("cross_entropy loss", args.loss, DType::f32, {rows});
  check(std::isfinite(args.gradient_scale), "cross_entropy gradient_scale is ", args.gradient_scale,
        ", it must be finite");
  if (args.scale.has_data()) check_tensor("cross_entropy scale", args.scale, DType::f32, {1});
  if (args.labels.device != DeviceKind::cpu) return;
  const int32_t* labels = args.labels.as<int32_t>();
  for (int64_t row = 0; row < rows; ++row) {
    check(labels[row] == kIgnoredLabel || (labels[row] >= 0 && labels[row] < vocab), "label ",
          labels[row], " at row ", row, ", allowed are 0 to ", vocab - 1, " (the vocabulary has ",
          vocab, " entries) and ", kIgnoredLabel, " (ignored)");
  }
}

}  // namespace

void cross_entropy(Context& ctx, const CrossEntropy& args) {
  check_on_device(ctx, {{"cross_entropy logits", args.logits},
                        {"cross_entropy labels", args.labels},
                        {"cross_entropy loss", args.loss},
                        {"cross_entropy scale", args.scale}});
  validate(args);
  select("cross_entropy", cross_entropy_impls(), args.logits.dtype, ctx.device(),
         ctx.wish("cross_entropy"))
      .run(ctx, args);
}

std::span<const CrossEntropyImpl> cross_entropy_impls() {
  static const auto rows = join_impls(cross_entropy_impls_cpu(), cross_entropy_impls_cuda());
  return rows;
}

}  // namespace strobe
