#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

struct SamplerOptions {
  double temperature = 0;  // 0: always the most probable token, the first of several
  int64_t top_k = 0;       // draw among so many, the most probable ones; 0: among all
  double top_p = 1;  // … and among the fewest that have this share of the probability together
  uint64_t seed = 1;
};

// Throws Error, with the value and what is allowed, unless temperature ≥ 0, top_k ≥ 0 and top_p is
// in (0, 1].
void validate(const SamplerOptions& options);

// Draws a token for each row: from softmax(logits / temperature), cut off at top_k, then at top_p,
// as Hugging Face does it; of equally probable ones the first stay. What is left lies side by side
// in the order of ids, and a random number points at one. It is a function of seed and index alone,
// so that a sequence's tokens do not depend on the batch it is in.
//
// The same tokens on every device, but where rounding moves an end of a token's share past the
// random number.
struct Sample {
  Tensor logits;   // [B, V] f32, f16 or bf16, contiguous
  Tensor indices;  // i32 [B]  the number of the token in its sequence; one more afterwards
  Tensor tokens;   // i32 [B]  set; −1 where a logit is NaN or the largest is infinite
  SamplerOptions options;
};

void sample(Context& ctx, const Sample& args);

struct SampleImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*run)(Context&, const Sample&);
};
std::span<const SampleImpl> sample_impls();  // of all devices
std::span<const SampleImpl> sample_impls_cpu();
std::span<const SampleImpl> sample_impls_cuda();

}  // namespace strobe
