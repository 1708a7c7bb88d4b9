#include "strobe/models/gpt2_pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/dropout_add/dropout_add.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/gelu/gelu.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {
namespace {

// Logits exist for a chunk of rows at a time, of about this size: enough rows for the matrix
// products' full speed, little beside the rest of the activations.
constexpr int64_t kLogitsBytes = int64_t{128} << 20;

// The labels' rows, one position early: row b·T + t is labels[b, t+1], the last one ignored.
void shift_labels(const Tensor& labels, const Tensor& shifted) {
  const int64_t time = labels.shape[1];
  const auto* from = labels.as<int32_t>();
  auto* to = shifted.as<int32_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    to[i] = (i + 1) % time == 0 ? kIgnoredLabel : from[i + 1];
  }
}

// Queries, keys and values as views [B, T, H, D] of the packed projection [M, 3C].
struct QkvViews {
  Tensor q, k, v;
  QkvViews(const Tensor& qkv, int64_t batch, int64_t time, int64_t heads) {
    const int64_t head_dim = qkv.shape[1] / (3 * heads);
    const Tensor all = qkv.view({batch, time, 3 * heads, head_dim});
    q = all.slice(2, 0, heads);
    k = all.slice(2, heads, 2 * heads);
    v = all.slice(2, 2 * heads, 3 * heads);
  }
};

void check_i32(const char* name, const Tensor& tensor, const Shape& shape) {
  check_tensor(name, tensor, DType::i32, shape);
  check(tensor.is_contiguous(), name, " is strided, it must be contiguous");
}

}  // namespace

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
  check_i32("tokens", batch.tokens, {batch_size_, time_});
  check(time_ <= config.n_positions, "the sequences have ", time_,
        " tokens, allowed are up to n_positions = ", config.n_positions);
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

// Forward: the backward functions below are its mirror image, in reverse order.

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
                           .token_table = parameters_.wte.value,
                           .position_table = parameters_.wpe.value,
                           .out = x.view({batch_size_, time_, config_.n_embd})});
  if (const Dropout dropout = embedding_dropout(); dropout.active()) {
    dropout_add_forward(ctx_, {.x = x, .y = x, .dropout = dropout});
  }
  for (int64_t block = 0; block < blocks; ++block) forward_block(block);
  forward_layernorm(x_final_, parameters_.ln_f);
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
  layernorm_forward(ctx_, {.x = x,
                           .weight = layer.weight.value,
                           .bias = layer.bias.value,
                           .y = normed_.y,
                           .mean = normed_.mean,
                           .rstd = normed_.rstd,
                           .epsilon = static_cast<float>(config_.layer_norm_epsilon)});
}

void Gpt2Pass::forward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& y) {
  linear_forward(ctx_, {.x = x, .weight = layer.weight.value, .bias = layer.bias.value, .y = y});
}

void Gpt2Pass::forward_attention(int64_t block) {
  Activations& a = blocks_[block];
  const auto [q, k, v] = QkvViews(a.qkv, batch_size_, time_, config_.n_head);
  AttentionForward attention = {
      .q = q,
      .k = k,
      .v = v,
      .out = a.attended.view(q.shape),
      .lse = a.lse,
      .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim())),
      .mask = causal(),
      .padding = batch_.padding,
      .dropout = block_dropout(block, Branch::attention_probabilities),
  };
  if (training_ != nullptr) {
    AttentionProblem problem = problem_of(attention);
    problem.needs_backward = true;
    const int64_t bytes = attention_saved_bytes(ctx_, problem);
    a.saved = ctx_.arena().allocate(MemoryUse::attention, DType::f32, {(bytes + 3) / 4});
    attention.saved = a.saved;
  }
  attention_forward(ctx_, attention);
}

// Head

void Gpt2Pass::logits(const Tensor& logits) {
  linear_forward(ctx_, {.x = normed_.y, .weight = head_weight(), .y = logits});
}

double Gpt2Pass::loss() {
  check_i32("labels", batch_.labels, {batch_size_, time_});
  const int64_t vocab = config_.vocab_size;
  const int64_t counted = counted_labels(batch_.labels);
  float gradient_scale = 0;
  if (training_ != nullptr) {
    const double scale = training_->loss_scale;
    check((scale > 0 || counted == 0) && std::isfinite(scale), "loss_scale is ", scale,
          ", allowed is more than 0");
    // Ignored rows have no gradient at any scale but 0, which would ask for none.
    gradient_scale = counted == 0 ? 1.0f : static_cast<float>(scale / counted);
    dx_ = allocate({rows_, config_.n_embd});
    dnarrow_ = allocate({rows_, config_.n_embd});
  }
  const Arena::Scope scope(ctx_.arena());
  const Tensor labels = allocate(DType::i32, {rows_});
  const Tensor losses = allocate(DType::f32, {rows_});
  shift_labels(batch_.labels, labels);

  const int64_t fitting = std::max<int64_t>(1, kLogitsBytes / (vocab * size_of(dtype_)));
  const int64_t chunks = (rows_ + fitting - 1) / fitting;
  const int64_t chunk = (rows_ + chunks - 1) / chunks;
  const Tensor buffer = allocate({chunk, vocab});
  for (int64_t begin = 0; begin < rows_; begin += chunk) {
    const int64_t end = std::min(rows_, begin + chunk);
    const Tensor y = normed_.y.slice(0, begin, end);
    const Tensor logits = buffer.slice(0, 0, end - begin);
    linear_forward(ctx_, {.x = y, .weight = head_weight(), .y = logits});
    cross_entropy(ctx_, {.logits = logits,
                         .labels = labels.slice(0, begin, end),
                         .loss = losses.slice(0, begin, end),
                         .gradient_scale = gradient_scale});
    if (training_ == nullptr) continue;
    const Tensor& dlogits = logits;  // in place
    linear_backward(ctx_, {.x = y,
                           .weight = head_weight(),
                           .dy = dlogits,
                           .dx = dnarrow_.slice(0, begin, end),
                           .dweight = parameters_.wte.grad.transpose(0, 1),
                           .accumulate = training_->accumulate || begin > 0});
  }
  const auto* row_losses = losses.as<float>();
  const double sum = std::accumulate(row_losses, row_losses + rows_, 0.0);
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

// Backward

void Gpt2Pass::backward() {
  const int64_t narrow = rows_ * config_.n_embd, wide = rows_ * config_.inner_dim();
  const Tensor memory = allocate({std::max(4 * narrow, wide)});
  dfc_ = memory.slice(0, 0, wide).view({rows_, config_.inner_dim()});
  dqkv_ = memory.slice(0, 0, 3 * narrow).view({rows_, 3 * config_.n_embd});
  dattended_ = memory.slice(0, 3 * narrow, 4 * narrow).view({rows_, config_.n_embd});

  backward_layernorm(x_final_, parameters_.ln_f, /*dresidual=*/{});
  for (int64_t block = config_.n_layer - 1; block >= 0; --block) backward_block(block);
  const Tensor dembedded = backward_dropout(embedding_dropout());
  embedding_backward(ctx_, {.tokens = batch_.tokens,
                            .dout = dembedded.view({batch_size_, time_, config_.n_embd}),
                            .dtoken_table = parameters_.wte.grad,  // the head has set it
                            .dposition_table = parameters_.wpe.grad,
                            .accumulate = training_->accumulate});
}

void Gpt2Pass::backward_block(int64_t block) {
  const Gpt2Block& w = parameters_.h[block];
  const Activations& a = blocks_[block];

  const Tensor dmlp = backward_dropout(block_dropout(block, Branch::feed_forward));
  gelu_forward(ctx_, {.x = a.fc, .y = gelu_});
  backward_linear(gelu_, w.mlp_c_proj, dmlp, dfc_);
  gelu_backward(ctx_, {.x = a.fc, .dy = dfc_, .dx = dfc_});
  forward_layernorm(a.x_mid, w.ln_2);
  backward_linear(normed_.y, w.mlp_c_fc, dfc_, dnarrow_);
  backward_layernorm(a.x_mid, w.ln_2, dx_);

  const Tensor dattn = backward_dropout(block_dropout(block, Branch::attention_projection));
  backward_linear(a.attended, w.attn_c_proj, dattn, dattended_);
  backward_attention(block);
  forward_layernorm(a.x, w.ln_1);
  backward_linear(normed_.y, w.attn_c_attn, dqkv_, dnarrow_);
  backward_layernorm(a.x, w.ln_1, dx_);
}

// dx_ = the gradient of x through the layernorm in normed_, that of its output being dnarrow_, plus
// dresidual.
void Gpt2Pass::backward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                                  const Tensor& dresidual) {
  layernorm_backward(ctx_, {.x = x,
                            .weight = layer.weight.value,
                            .mean = normed_.mean,
                            .rstd = normed_.rstd,
                            .dy = dnarrow_,
                            .dresidual = dresidual,
                            .dx = dx_,
                            .dweight = layer.weight.grad,
                            .dbias = layer.bias.grad,
                            .accumulate = training_->accumulate});
}

void Gpt2Pass::backward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& dy,
                               const Tensor& dx) {
  linear_backward(ctx_, {.x = x,
                         .weight = layer.weight.value,
                         .dy = dy,
                         .dx = dx,
                         .dweight = layer.weight.grad,
                         .dbias = layer.bias.grad,
                         .accumulate = training_->accumulate});
}

void Gpt2Pass::backward_attention(int64_t block) {
  const Activations& a = blocks_[block];
  const auto [q, k, v] = QkvViews(a.qkv, batch_size_, time_, config_.n_head);
  const auto [dq, dk, dv] = QkvViews(dqkv_, batch_size_, time_, config_.n_head);
  attention_backward(ctx_, {.q = q,
                            .k = k,
                            .v = v,
                            .out = a.attended.view(q.shape),
                            .lse = a.lse,
                            .dout = dattended_.view(q.shape),
                            .dq = dq,
                            .dk = dk,
                            .dv = dv,
                            .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim())),
                            .mask = causal(),
                            .padding = batch_.padding,
                            .dropout = block_dropout(block, Branch::attention_probabilities),
                            .saved = a.saved});
}

// The gradient of what dropout_add added to the residual stream: dx_ itself without dropout.
Tensor Gpt2Pass::backward_dropout(const Dropout& dropout) {
  if (!dropout.active()) return dx_;
  dropout_add_backward(ctx_, {.dy = dx_, .dx = dnarrow_, .dropout = dropout});
  return dnarrow_;
}

}  // namespace strobe
