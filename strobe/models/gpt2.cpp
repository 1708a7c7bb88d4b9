#include "strobe/models/gpt2.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/core/copy.h"
#include "strobe/models/gpt2_inputs.h"
#include "strobe/models/gpt2_pass.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {
namespace {

constexpr int64_t kFewSequences = 8;

bool has_products(const Device& device, DType dtype) {
  return std::ranges::any_of(
      linear_impls(), [&](const LinearImpl& impl) { return impl.why_not(dtype, device).empty(); });
}

// Activations are of the weights' type, but f32 for evaluation where the device has no matrix
// products of that.
DType activation_dtype(const Context& ctx, DType weights, bool is_trainable) {
  return is_trainable || has_products(ctx.device(), weights) ? weights : DType::f32;
}

// The positions of each sequence that are not padding; throws Error unless there is at least one.
std::vector<Gpt2Span> spans_of(const Gpt2Batch& batch) {
  const auto value = [](const Tensor& ends, int64_t b, int64_t otherwise) -> int64_t {
    return ends.has_data() ? ends.as<int32_t>()[b] : otherwise;
  };
  const int64_t time = batch.tokens.shape[1];
  std::vector<Gpt2Span> spans;
  for (int64_t b = 0; b < batch.tokens.shape[0]; ++b) {
    const Gpt2Span span = {value(batch.padding.key_begin, b, 0),
                           value(batch.padding.key_end, b, time)};
    check(0 <= span.begin && span.begin < span.end && span.end <= time, "sequence ", b,
          " is the positions ", span.begin, " to ", span.end, " of ", time,
          ", allowed is at least one");
    spans.push_back(span);
  }
  return spans;
}

// What a pass reads that has no loss.
Gpt2Batch without_labels(Gpt2Batch batch) {
  batch.labels = {};
  return batch;
}

// The mean of the counted positions' losses, which the device has set.
double mean_loss(const Tensor& losses, int64_t counted) {
  std::vector<float> values(losses.numel());
  copy_now(losses, Tensor::of(values.data(), losses.shape));
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

Tensor allocate_losses(Context& ctx, const Gpt2Batch& batch) {
  return ctx.arena().allocate(MemoryUse::activations, DType::f32, {batch.tokens.numel()});
}

Init normal(double deviation) { return {.kind = Init::Kind::normal, .deviation = deviation}; }

Gpt2Block::Layernorm layernorm(const std::string& name, int64_t width) {
  return {.weight = {.hf_name = name + ".weight", .shape = {width}, .init = {Init::Kind::ones}},
          .bias = {.hf_name = name + ".bias", .shape = {width}}};
}

Gpt2Block::Linear linear(const std::string& name, int64_t inputs, int64_t outputs,
                         double deviation) {
  return {.weight = {.hf_name = name + ".weight",
                     .shape = {inputs, outputs},
                     .init = normal(deviation)},
          .bias = {.hf_name = name + ".bias", .shape = {outputs}}};
}

Gpt2Block block(const std::string& name, const Gpt2Config& config) {
  const int64_t width = config.n_embd, inner = config.inner_dim();
  const double deviation = config.initializer_range;
  // Two projections a block add to the residual stream: their sum keeps its size at any depth.
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(config.n_layer));
  return {.ln_1 = layernorm(name + ".ln_1", width),
          .attn_c_attn = linear(name + ".attn.c_attn", width, 3 * width, deviation),
          .attn_c_proj = linear(name + ".attn.c_proj", width, width, residual),
          .ln_2 = layernorm(name + ".ln_2", width),
          .mlp_c_fc = linear(name + ".mlp.c_fc", width, inner, deviation),
          .mlp_c_proj = linear(name + ".mlp.c_proj", inner, width, residual)};
}

}  // namespace

Gpt2Parameters::Gpt2Parameters(const Gpt2Config& config) {
  validate(config);
  wte = {.hf_name = "transformer.wte.weight",
         .shape = {config.vocab_size, config.n_embd},
         .init = normal(config.initializer_range)};
  wpe = {.hf_name = "transformer.wpe.weight",
         .shape = {config.n_positions, config.n_embd},
         .init = normal(config.initializer_range)};
  for (int64_t i = 0; i < config.n_layer; ++i) {
    h.push_back(block(fmt::format("transformer.h.{}", i), config));
  }
  ln_f = layernorm("transformer.ln_f", config.n_embd);
}

void check_can_train(const Device& device, DType dtype) {
  if (has_products(device, dtype)) return;
  std::vector<DType> allowed;
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    if (has_products(device, type)) allowed.push_back(type);
  }
  throw_error(fmt::format("the model's type is {}, allowed for training on {}: {}", dtype, device,
                          fmt::join(allowed, ", ")));
}

int64_t parameter_count(const Gpt2Config& config) {
  int64_t count = 0;
  Gpt2Parameters(config).for_each([&](const Parameter& p) { count += p.shape.numel(); });
  return count;
}

int64_t counted_labels(const Tensor& labels) {
  check(labels.rank() == 2, "labels have shape ", labels.shape, ", allowed is [batch, time]");
  const auto* values = labels.as<int32_t>();
  int64_t count = 0;
  for (int64_t i = 0; i < labels.numel(); ++i) {
    count += i % labels.shape[1] != 0 && values[i] != kIgnoredLabel;
  }
  return count;
}

Gpt2::Gpt2(Context& ctx, const Gpt2Config& config, DType dtype, bool is_trainable)
    : config_(config),
      dtype_(dtype),
      activation_dtype_(activation_dtype(ctx, dtype, is_trainable)),
      is_trainable_(is_trainable),
      attention_(attention_wish(config.attn_implementation)),
      parameters_(config) {
  check(dtype != DType::i32, "the model's type is ", dtype, ", allowed are f32, bf16 and f16");
  if (is_trainable) check_can_train(ctx.device(), dtype);
  for_each_parameter([&](Parameter& p) { allocate(ctx, p, dtype, is_trainable); });
  // Memory is touched only when all of it is there: a model that is too large fails at once.
  if (is_trainable) for_each_parameter([&](Parameter& p) { clear_moments(ctx, p); });
}

void Gpt2::set_attention(std::string_view name) { attention_ = attention_wish(name); }

void Gpt2::initialize(Context& ctx, uint64_t seed) {
  uint64_t index = 0;
  for_each_parameter(
      [&](Parameter& p) { strobe::initialize(ctx, p, random_key(seed, index++, kSiteWeights)); });
}

double Gpt2::loss(Context& ctx, const Gpt2Batch& batch) {
  const Context::Preference preference(ctx, "attention", attention_);
  const int64_t counted = counted_labels(batch.labels);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, batch, nullptr);
  const Tensor losses = allocate_losses(ctx, batch);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  pass.forward();
  pass.losses(losses);
  return mean_loss(losses, counted);
}

double Gpt2::forward_backward(Context& ctx, const Gpt2Batch& batch,
                              const Gpt2TrainingPass& training) {
  check_trainable();
  const int64_t counted = counted_labels(batch.labels);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, batch, &training);
  const Tensor losses = allocate_losses(ctx, batch);
  forward_backward(ctx, inputs, losses, training.accumulate);
  return mean_loss(losses, counted);
}

void Gpt2::forward_backward(Context& ctx, const Gpt2Inputs& inputs, const Tensor& losses,
                            bool accumulate) {
  check_trainable();
  const Context::Preference preference(ctx, "attention", attention_);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs, Gpt2Pass::Kind::training,
                accumulate);
  pass.forward();
  pass.losses(losses);
  pass.backward();
}

void Gpt2::check_trainable() const {
  check(is_trainable_, "the model was made for evaluation only, it has no gradients");
}

Tensor Gpt2::logits(Context& ctx, const Gpt2Batch& batch) {
  check(batch.tokens.rank() == 2, "tokens have shape ", batch.tokens.shape,
        ", allowed is [batch, time]");
  const int64_t batch_size = batch.tokens.shape[0], time = batch.tokens.shape[1];
  const Tensor logits = ctx.arena().allocate(MemoryUse::activations, DType::f32,
                                             {batch_size * time, config_.vocab_size});
  const Context::Preference preference(ctx, "attention", attention_);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, without_labels(batch), nullptr);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  pass.forward();
  pass.logits(logits);
  return logits.view({batch_size, time, config_.vocab_size});
}

Tensor Gpt2::attention_probabilities(Context& ctx, const Gpt2Batch& batch, int64_t block,
                                     int64_t head) {
  check(block >= 0 && block < config_.n_layer, "layer ", block, ", allowed is 0 to ",
        config_.n_layer - 1);
  check(head >= 0 && head < config_.n_head, "head ", head, ", allowed is 0 to ",
        config_.n_head - 1);
  check(batch.tokens.rank() == 2, "tokens have shape ", batch.tokens.shape,
        ", allowed is [batch, time]");
  const int64_t batch_size = batch.tokens.shape[0], time = batch.tokens.shape[1];
  const Tensor probabilities =
      ctx.arena().allocate(MemoryUse::activations, DType::f32, {batch_size, time, time});
  const Context::Preference preference(ctx, "attention", attention_);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, without_labels(batch), nullptr);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  pass.watch({.block = block, .head = head, .probabilities = probabilities});
  pass.forward();
  return probabilities;
}

Tensor Gpt2::next_logits(Context& ctx, const Gpt2Batch& batch) {
  const Tensor logits = allocate_next_logits(ctx, batch.tokens.shape[0]);
  const std::vector<Gpt2Span> spans = spans_of(batch);
  const Context::Preference preference(ctx, "attention", attention_);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, without_labels(batch), nullptr);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  pass.forward();
  pass.next_logits(logits, spans);
  return logits;
}

KvCache Gpt2::make_cache(Context& ctx, int64_t sequences, int64_t capacity) const {
  check(capacity <= config_.n_positions, "a cache of ", capacity,
        " positions, allowed are up to n_positions = ", config_.n_positions);
  return KvCache(ctx, {.blocks = config_.n_layer,
                       .sequences = sequences,
                       .capacity = capacity,
                       .heads = config_.n_head,
                       .head_dim = config_.head_dim(),
                       .dtype = dtype_});
}

Tensor Gpt2::prefill(Context& ctx, const Gpt2Batch& batch, KvCache& cache, int64_t first) {
  const Tensor logits = allocate_next_logits(ctx, batch.tokens.shape[0]);
  const std::vector<Gpt2Span> spans = spans_of(batch);
  const Context::Preference preference(ctx, "attention", attention_);
  const Arena::Scope scope(ctx.arena());
  const Gpt2Inputs inputs = take_inputs(ctx, config_, without_labels(batch), nullptr);
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  pass.prefill(cache, first, spans);
  pass.next_logits(logits, spans);
  return logits;
}

Tensor Gpt2::decode(Context& ctx, const Tensor& tokens, KvCache& cache) {
  check(tokens.rank() == 1, "tokens have shape ", tokens.shape, ", allowed is [batch]");
  const int64_t batch_size = tokens.shape[0];
  check_ids("tokens", tokens.view({batch_size, 1}), config_.vocab_size);
  cache.extend(batch_size);
  const Tensor logits = allocate_next_logits(ctx, batch_size);
  const Arena::Scope scope(ctx.arena());
  decode_extended(ctx, on_device(ctx, tokens), cache, logits);
  return logits;
}

Tensor Gpt2::decode_extended(Context& ctx, const Tensor& tokens, KvCache& cache) {
  const Tensor logits = allocate_next_logits(ctx, tokens.shape[0]);
  decode_extended(ctx, tokens, cache, logits);
  return logits;
}

void Gpt2::decode_extended(Context& ctx, const Tensor& tokens, KvCache& cache,
                           const Tensor& logits) {
  const int64_t batch_size = tokens.shape[0];
  const Context::Preference preference(ctx, "attention", attention_);
  const Arena::Scope scope(ctx.arena());
  // A token's position is as many as its sequence had before.
  const Gpt2Inputs inputs = {.tokens = tokens.view({batch_size, 1}),
                             .positions = cache.newest(batch_size).view({batch_size, 1})};
  Gpt2Pass pass(ctx, config_, parameters_, activation_dtype_, inputs);
  const auto compute = [&] {
    pass.decode(cache);
    pass.next_logits(logits, {});
  };
  // On a CPU a token of a few sequences is many loops of some microseconds each. With more rows the
  // linear layers are oneDNN's matrix products, which bring their own team.
  if (batch_size <= kFewSequences) {
    ctx.with_threads_at_hand(compute);
  } else {
    compute();
  }
}

Tensor Gpt2::allocate_next_logits(Context& ctx, int64_t batch_size) const {
  return ctx.arena().allocate(MemoryUse::activations, DType::f32, {batch_size, config_.vocab_size});
}

}  // namespace strobe
