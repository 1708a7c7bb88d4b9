#include "strobe/models/gpt2_testing.h"

#include "tests/testkit/tensors.h"

namespace strobe::testing {

Gpt2Batch TestBatch::view() {
  Gpt2Batch view;
  view.tokens = Tensor::of(tokens.data(), {batch, time});
  view.labels = Tensor::of(labels.data(), {batch, time});
  if (!begin.empty()) view.padding.key_begin = Tensor::of(begin.data(), {batch});
  if (!end.empty()) view.padding.key_end = Tensor::of(end.data(), {batch});
  return view;
}

TestBatch random_batch(const Gpt2Config& config, int64_t batch, int64_t time, uint64_t seed) {
  Random random(random_key(seed, 0, 0));
  TestBatch result = {.batch = batch, .time = time};
  for (int64_t i = 0; i < batch * time; ++i) {
    result.tokens.push_back(static_cast<int32_t>(random.below(config.vocab_size)));
  }
  result.labels = result.tokens;
  return result;
}

NamedValues values_of(Gpt2& model) {
  NamedValues values;
  model.for_each_parameter([&](Parameter& p) { values[p.hf_name] = to_doubles(p.value); });
  return values;
}

NamedValues gradients_of(Gpt2& model) {
  NamedValues gradients;
  model.for_each_parameter([&](Parameter& p) { gradients[p.hf_name] = to_doubles(p.grad); });
  return gradients;
}

void randomize(Context& ctx, Gpt2& model, uint64_t seed) {
  Random random(random_key(seed, 1, 0));
  model.for_each_parameter([&](Parameter& p) {
    const Arena::Scope scope(ctx.arena());
    const Tensor values = ctx.arena().allocate(MemoryUse::workspace, DType::f32, p.shape);
    const double mean = p.init.kind == Init::Kind::ones ? 1 : 0;
    fill(values, [&] { return mean + 0.2 * random.normal(); });
    assign(ctx, p, values);
  });
}

Optimizer::Optimizer(Context& ctx, Gpt2& model, double learning_rate) : ctx_(ctx) {
  model.for_each_parameter([&](Parameter& p) {
    parameters_.push_back(p.for_adamw());
  });
  const auto number = [&](DType dtype, double value) {
    const Tensor tensor = ctx.arena().allocate(MemoryUse::optimizer, dtype, {1});
    fill(tensor, [&] { return value; });
    return tensor;
  };
  step_ = {.learning_rate = number(DType::f32, learning_rate),
           .gradient_scale = number(DType::f32, 1),
           .step = number(DType::i32, 0),
           .is_skipped = number(DType::i32, 0)};
}

void Optimizer::step() {
  ++steps_;
  fill(step_.step, [&] { return static_cast<double>(steps_); });
  adamw(ctx_, parameters_, step_);
}

}  // namespace strobe::testing
