#include "strobe/models/gpt2_pass.h"

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_probabilities.h"
#include "strobe/ops/dropout_add/dropout_add.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {

Gpt2Pass::QkvViews::QkvViews(const Tensor& qkv, int64_t batch, int64_t time, int64_t heads) {
  const int64_t head_dim = qkv.shape[1] / (3 * heads);
  const Tensor all = qkv.view({batch, time, 3 * heads, head_dim});
  q = all.slice(2, 0, heads);
  k = all.slice(2, heads, 2 * heads);
  v = all.slice(2, 2 * heads, 3 * heads);
}

Gpt2Pass::Gpt2Pass(Context& ctx, const Gpt2Config& config, Gpt2Parameters& parameters, DType dtype,
                   const Gpt2Batch& batch, const Gpt2TrainingPass* training)
    : ctx_(ctx),
      scope_(ctx.arena()),
      config_(config),
      parameters_(parameters),
      dtype_(dtype),
      batch_(batch),
      training_(training),
      batch_size_(batch.tokens.shape[0]),
      time_(batch.tokens.shape[1]),
      rows_(batch_size_ * time_) {
  check(batch.tokens.rank() == 2 && batch_size_ >= 1 && time_ >= 1, "tokens have shape ",
        batch.tokens.shape, ", allowed is [batch, time] with at least one of each");
  check_contiguous("tokens", batch.tokens, DType::i32, {batch_size_, time_});
  check(time_ <= config.n_positions, "the sequences have ", time_,
        " tokens, allowed are up to n_positions = ", config.n_positions);
}

Gpt2Pass::Span Gpt2Pass::span_of(int64_t sequence) const {
  const auto value = [&](const Tensor& ends, int64_t otherwise) -> int64_t {
    return ends.has_data() ? ends.as<int32_t>()[sequence] : otherwise;
  };
  const Span span = {value(batch_.padding.key_begin, 0), value(batch_.padding.key_end, time_)};
  check(0 <= span.begin && span.begin < span.end && span.end <= time_, "sequence ", sequence,
        " is the positions ", span.begin, " to ", span.end, " of ", time_,
        ", allowed is at least one");
  return span;
}

Gpt2Pass::Activations Gpt2Pass::allocate_block() {
  Arena& arena = ctx_.arena();
  Activations a;
  a.x = allocate({rows_, config_.n_embd});
  a.qkv = allocate({rows_, 3 * config_.n_embd});
  a.attended = allocate({rows_, config_.n_embd});
  a.lse = arena.allocate(MemoryUse::attention, DType::f32, {batch_size_, config_.n_head, time_});
  a.x_mid = allocate({rows_, config_.n_embd});
  if (training_ != nullptr) a.fc = allocate({rows_, config_.inner_dim()});
  return a;
}

Dropout Gpt2Pass::dropout(double p, uint32_t number) const {
  if (training_ == nullptr) return Dropout::none();
  return Dropout::with(p, random_key(training_->seed, training_->step, kSiteDropout + number));
}

Dropout Gpt2Pass::block_dropout(int64_t block, Branch branch) const {
  const bool is_attention = branch == Branch::attention_probabilities;
  return dropout(is_attention ? config_.attn_pdrop : config_.resid_pdrop,
                 1 + 3 * static_cast<uint32_t>(block) + static_cast<uint32_t>(branch));
}

// Forward: gpt2_pass_backward.cpp is its mirror image, in reverse order.

void Gpt2Pass::take_cache(KvCache& cache) {
  const KvCacheSizes& s = cache.sizes();
  check(
      s.blocks == config_.n_layer && s.heads == config_.n_head && s.head_dim == config_.head_dim(),
      "the cache is that of ", s.blocks, " blocks, ", s.heads, " heads of ", s.head_dim,
      ", the model has ", config_.n_layer, " blocks, ", config_.n_head, " heads of ",
      config_.head_dim());
  cache_ = &cache;
}

void Gpt2Pass::prefill(KvCache& cache, int64_t first) {
  take_cache(cache);
  for (int64_t b = 0; b < batch_size_; ++b) {
    const Span span = span_of(b);
    cache.clear(first + b);
    cache.extend(first + b, span.end - span.begin);
  }
  first_ = first;
  forward();
}

void Gpt2Pass::decode(KvCache& cache) {
  take_cache(cache);
  for (int64_t b = 0; b < batch_size_; ++b) cache.extend(b, time_);
  reads_cache_ = true;
  forward();
}

void Gpt2Pass::forward() {
  const int64_t blocks = config_.n_layer;
  for (int64_t block = 0; block < blocks; ++block) {
    blocks_.push_back(training_ == nullptr && block > 0 ? blocks_[0] : allocate_block());
  }
  x_final_ = training_ == nullptr ? blocks_[0].x : allocate({rows_, config_.n_embd});
  normed_ = {.y = allocate({rows_, config_.n_embd}),
             .mean = allocate(DType::f32, {rows_}),
             .rstd = allocate(DType::f32, {rows_})};
  gelu_ = allocate({rows_, config_.inner_dim()});

  const Tensor& x = blocks_[0].x;
  embedding_forward(ctx_, {.tokens = batch_.tokens,
                           .positions = batch_.positions,
                           .token_table = parameters_.wte.value,
                           .position_table = parameters_.wpe.value,
                           .out = x.view({batch_size_, time_, config_.n_embd})});
  if (const Dropout dropout = embedding_dropout(); dropout.active()) {
    dropout_add_forward(ctx_, {.x = x, .y = x, .dropout = dropout});
  }
  for (int64_t block = 0; block < blocks; ++block) forward_block(block);
}

void Gpt2Pass::forward_block(int64_t block) {
  const Gpt2Block& w = parameters_.h[block];
  const Activations& a = blocks_[block];
  const Tensor& x_next = block + 1 < config_.n_layer ? blocks_[block + 1].x : x_final_;

  forward_layernorm(a.x, w.ln_1);
  forward_linear(normed_.y, w.attn_c_attn, a.qkv);
  forward_attention(block);
  forward_linear(a.attended, w.attn_c_proj, a.x_mid);
  dropout_add_forward(ctx_, {.x = a.x_mid,
                             .residual = a.x,
                             .y = a.x_mid,
                             .dropout = block_dropout(block, Branch::attention_projection)});

  forward_layernorm(a.x_mid, w.ln_2);
  linear_forward(ctx_, {.x = normed_.y,
                        .weight = w.mlp_c_fc.weight.value,
                        .bias = w.mlp_c_fc.bias.value,
                        .y = gelu_,
                        .gelu = true,
                        .pre_activation = a.fc});
  forward_linear(gelu_, w.mlp_c_proj, x_next);
  dropout_add_forward(ctx_, {.x = x_next,
                             .residual = a.x_mid,
                             .y = x_next,
                             .dropout = block_dropout(block, Branch::feed_forward)});
}

void Gpt2Pass::forward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer) {
  const int64_t rows = x.shape[0];
  layernorm_forward(ctx_, {.x = x,
                           .weight = layer.weight.value,
                           .bias = layer.bias.value,
                           .y = normed_.y.slice(0, 0, rows),
                           .mean = normed_.mean.slice(0, 0, rows),
                           .rstd = normed_.rstd.slice(0, 0, rows),
                           .epsilon = static_cast<float>(config_.layer_norm_epsilon)});
}

void Gpt2Pass::forward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& y) {
  linear_forward(ctx_, {.x = x, .weight = layer.weight.value, .bias = layer.bias.value, .y = y});
}

void Gpt2Pass::forward_attention(int64_t block) {
  Activations& a = blocks_[block];
  const QkvViews qkv(a.qkv, batch_size_, time_, config_.n_head);
  if (reads_cache_) return decode_attention(block, qkv);
  AttentionForward attention = {
      .q = qkv.q,
      .k = qkv.k,
      .v = qkv.v,
      .out = a.attended.view(qkv.q.shape),
      .lse = a.lse,
      .scale = attention_scale(),
      .mask = causal(),
      .padding = batch_.padding,
      .dropout = block_dropout(block, Branch::attention_probabilities),
  };
  if (training_ != nullptr) {
    AttentionProblem problem = problem_of(ctx_, attention);
    problem.needs_backward = true;
    const int64_t bytes = attention_saved_bytes(ctx_, problem);
    a.saved = ctx_.arena().allocate(MemoryUse::attention, DType::f32, {(bytes + 3) / 4});
    attention.saved = a.saved;
  }
  attention_forward(ctx_, attention);
  if (block == watched_.block) {
    for (int64_t b = 0; b < batch_size_; ++b) {
      attention_probabilities(attention, b, watched_.head,
                              watched_.probabilities.slice(0, b, b + 1).view({time_, time_}));
    }
  }
  if (cache_ == nullptr) return;
  for (int64_t b = 0; b < batch_size_; ++b) store_keys_values(block, qkv, b, span_of(b));
}

void Gpt2Pass::decode_attention(int64_t block, const QkvViews& qkv) {
  for (int64_t b = 0; b < batch_size_; ++b) store_keys_values(block, qkv, b, {0, time_});
  attention_decode(ctx_, {.q = qkv.q,
                          .k_cache = cache_->keys(block, batch_size_),
                          .v_cache = cache_->values(block, batch_size_),
                          .cache_lengths = cache_->lengths(batch_size_),
                          .out = blocks_[block].attended.view(qkv.q.shape),
                          .scale = attention_scale()});
}

void Gpt2Pass::store_keys_values(int64_t block, const QkvViews& qkv, int64_t sequence, Span span) {
  const auto part = [&](const Tensor& t) {
    return t.slice(0, sequence, sequence + 1).slice(1, span.begin, span.end);
  };
  cache_->store(ctx_, block, first_ + sequence, part(qkv.k), part(qkv.v));
}

}  // namespace strobe
