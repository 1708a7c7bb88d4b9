#include "strobe/ops/sample/sample.h"

#include <cmath>

namespace strobe {

void validate(const SamplerOptions& options) {
  check(options.temperature >= 0 && std::isfinite(options.temperature), "temperature is ",
        options.temperature, ", allowed is 0 or more");
  check(options.top_k >= 0, "top_k is ", options.top_k, ", allowed is 0 or more");
  check(options.top_p > 0 && options.top_p <= 1, "top_p is ", options.top_p,
        ", allowed is more than 0 and up to 1");
}

void sample(Context& ctx, const Sample& args) {
  check_on_device(ctx, {{"sample logits", args.logits},
                        {"sample indices", args.indices},
                        {"sample tokens", args.tokens}});
  validate(args.options);
  check(args.logits.rank() == 2 && args.logits.shape[1] >= 1, "sample logits have shape ",
        args.logits.shape, ", expected [batch, vocabulary] with at least one token");
  check(args.logits.dtype != DType::i32, "sample logits are i32, allowed are f32, f16 and bf16");
  const int64_t batch = args.logits.shape[0];
  check_contiguous("sample logits", args.logits, args.logits.dtype, args.logits.shape);
  check_contiguous("sample indices", args.indices, DType::i32, {batch});
  check_contiguous("sample tokens", args.tokens, DType::i32, {batch});
  select("sample", sample_impls(), args.logits.dtype, ctx.device(), ctx.wish("sample"))
      .run(ctx, args);
}

std::span<const SampleImpl> sample_impls() {
  static const auto rows = join_impls(sample_impls_cpu(), sample_impls_cuda());
  return rows;
}

}  // namespace strobe
