// The backward pass: the mirror image of gpt2_pass.cpp, in reverse order.
#include <algorithm>

#include "strobe/models/gpt2_pass.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/ops/dropout_add/dropout_add.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/gelu/gelu.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {

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
                            .positions = batch_.positions,
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
  const QkvViews qkv(a.qkv, batch_size_, time_, config_.n_head);
  const QkvViews dqkv(dqkv_, batch_size_, time_, config_.n_head);
  attention_backward(ctx_, {.q = qkv.q,
                            .k = qkv.k,
                            .v = qkv.v,
                            .out = a.attended.view(qkv.q.shape),
                            .lse = a.lse,
                            .dout = dattended_.view(qkv.q.shape),
                            .dq = dqkv.q,
                            .dk = dqkv.k,
                            .dv = dqkv.v,
                            .scale = attention_scale(),
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
