// Causal attention over random numbers: one call, on whatever implementation suits this CPU best.
#include <strobe/ops/attention/attention.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  using namespace strobe;
  constexpr int64_t kBatch = 2, kTime = 100, kHeads = 4, kHeadDim = 64;
  const Shape shape = {kBatch, kTime, kHeads, kHeadDim};

  std::vector<float> q(shape.numel()), k(shape.numel()), v(shape.numel()), out(shape.numel());
  std::vector<float> lse(kBatch * kHeads * kTime);
  Random random(random_key(/*seed=*/1, /*step=*/0, /*site=*/0));
  for (auto* tensor : {&q, &k, &v}) {
    for (float& x : *tensor) x = static_cast<float>(random.normal());
  }

  Context ctx;
  const AttentionForward args = {.q = Tensor::of(q.data(), shape),
                                 .k = Tensor::of(k.data(), shape),
                                 .v = Tensor::of(v.data(), shape),
                                 .out = Tensor::of(out.data(), shape),
                                 .lse = Tensor::of(lse.data(), {kBatch, kHeads, kTime}),
                                 .scale = 1 / std::sqrt(static_cast<float>(kHeadDim)),
                                 .mask = causal()};
  attention_forward(ctx, args);

  // The first query sees the first key only, so its result is that key's value.
  const float error = std::abs(out[0] - v[0]);
  std::printf("%s: out[0] = %g, v[0] = %g\n",
              std::string(select_attention(ctx, problem_of(ctx, args)).name).c_str(), out[0], v[0]);
  return error <= 1e-6f ? 0 : 1;
}
