#include "strobe/models/gpt2_pass.h"

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_probabilities.h"
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
                   const Gpt2Inputs& inputs, Kind kind, bool accumulate)
    : ctx_(ctx),
      scope_(ctx.arena()),
      config_(config),
      parameters_(parameters),
      dtype_(dtype),
      inputs_(inputs),
      is_training_(kind == Kind::training),
      accumulates_(accumulate),
      batch_size_(inputs.tokens.shape[0]),
      time_(inputs.tokens.shape[1]),
      rows_(batch_size_ * time_) {}

Gpt2Pass::Activations Gpt2Pass::allocate_block() {
  Arena& arena = ctx_.arena();
  Activations a;
  a.x = allocate({rows_, config_.n_embd});
  a.qkv = allocate({rows_, 3 * config_.n_embd});
  a.attended = allocate({rows_, config_.n_embd});
  a.lse = arena.allocate(MemoryUse::attention, DType::f32, {batch_size_, config_.n_head, time_});
  a.x_mid = allocate({rows_, config_.n_embd});
  if (is_training_) a.fc = allocate({rows_, config_.inner_dim()});
  return a;
}

Dropout Gpt2Pass::dropout(double p, uint32_t number) const {
  if (!is_training_) return Dropout::none();
  Dropout dropout = Dropout::with(p, {});
  dropout.key_at = static_cast<const PhiloxKey*>(inputs_.dropout_keys.data) + number;
  return dropout;
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

void Gpt2Pass::prefill(KvCache& cache, int64_t first, Spans spans) {
  take_cache(cache);
  std::vector<int32_t> lengths;
  for (const Gpt2Span& span : spans) lengths.push_back(static_cast<int32_t>(span.end - span.begin));
  cache.hold(ctx_, first, lengths);
  first_ = first;
  forward();
}

void Gpt2Pass::decode(KvCache& cache) {
  take_cache(cache);
  cache.advance(ctx_, batch_size_);
  reads_cache_ = true;
  forward();
}

void Gpt2Pass::forward() {
  const int64_t blocks = config_.n_layer;
  for (int64_t block = 0; block < blocks; ++block) {
    blocks_.push_back(!is_training_ && block > 0 ? blocks_[0] : allocate_block());
  }
  x_final_ = is_training_ ? allocate({rows_, config_.n_embd}) : blocks_[0].x;
  normed_ = {.y = allocate({rows_, config_.n_embd}),
             .mean = allocate(DType::f32, {rows_}),
             .rstd = allocate(DType::f32, {rows_})};
  gelu_ = allocate({rows_, config_.inner_dim()});

  embedding_forward(ctx_, {.tokens = inputs_.tokens,
                           .positions = inputs_.positions,
                           .token_table = parameters_.wte.value,
                           .position_table = parameters_.wpe.value,
                           .out = blocks_[0].x.view({batch_size_, time_, config_.n_embd}),
                           .dropout = embedding_dropout()});
  for (int64_t block = 0; block < blocks; ++block) forward_block(block);
}

Gpt2Pass::Addition Gpt2Pass::addition_before(int64_t block) const {
  if (block == 0) return {};  // the embedding is the whole stream
  return {.residual = blocks_[block - 1].x_mid,
          .dropout = block_dropout(block - 1, Branch::feed_forward)};
}

void Gpt2Pass::forward_block(int64_t block) {
  const Gpt2Block& w = parameters_.h[block];
  const Activations& a = blocks_[block];
  const Tensor& x_next = block + 1 < config_.n_layer ? blocks_[block + 1].x : x_final_;

  const Addition before = addition_before(block);
  forward_layernorm(a.x, w.ln_1, &before);
  forward_linear(normed_.y, w.attn_c_attn, a.qkv);
  forward_attention(block);
  forward_linear(a.attended, w.attn_c_proj, a.x_mid);

  const Addition attended = {.residual = a.x,
                             .dropout = block_dropout(block, Branch::attention_projection)};
  forward_layernorm(a.x_mid, w.ln_2, &attended);
  linear_forward(ctx_, {.x = normed_.y,
                        .weight = w.mlp_c_fc.weight.value,
                        .bias = w.mlp_c_fc.bias.value,
                        .y = gelu_,
                        .gelu = true,
                        .pre_activation = a.fc});
  forward_linear(gelu_, w.mlp_c_proj, x_next);
}

// normed_ = the layernorm of x; with `addition`, x is the branch at first, and the whole sum then.
void Gpt2Pass::forward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                                 const Addition* addition) {
  LayernormForward args = {.x = x,
                           .weight = layer.weight.value,
                           .bias = layer.bias.value,
                           .y = normed_.y,
                           .mean = normed_.mean,
                           .rstd = normed_.rstd,
                           .epsilon = static_cast<float>(config_.layer_norm_epsilon)};
  if (addition != nullptr && addition->residual.has_data()) {
    args.branch = x;
    args.residual = addition->residual;
    args.dropout = addition->dropout;
  }
  layernorm_forward(ctx_, args);
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
      .padding = inputs_.padding,
      .dropout = block_dropout(block, Branch::attention_probabilities),
  };
  if (is_training_) {
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
  if (cache_ != nullptr) {
    cache_->store(ctx_, block, first_, qkv.k, qkv.v, inputs_.padding.key_begin);
  }
}

void Gpt2Pass::decode_attention(int64_t block, const QkvViews& qkv) {
  cache_->store_newest(ctx_, block, qkv.k, qkv.v);
  attention_decode(ctx_, {.q = qkv.q,
                          .k_cache = cache_->keys(block, batch_size_),
                          .v_cache = cache_->values(block, batch_size_),
                          .cache_lengths = cache_->lengths(batch_size_),
                          .out = blocks_[block].attended.view(qkv.q.shape),
                          .scale = attention_scale()});
}

}  // namespace strobe
