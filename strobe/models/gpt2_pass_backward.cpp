// The backward pass: the mirror image of gpt2_pass.cpp, in reverse order.
#include <algorithm>

#include "strobe/models/gpt2_pass.h"
#include "strobe/ops/attention/attention.h"
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

  dbranch_ = backward_layernorm(x_final_, parameters_.ln_f, /*dresidual=*/{},
                                addition_before(config_.n_layer).dropout);
  for (int64_t block = config_.n_layer - 1; block >= 0; --block) backward_block(block);
  embedding_backward(ctx_, {.tokens = inputs_.tokens,
                            .positions = inputs_.positions,
                            .dout = dbranch_.view({batch_size_, time_, config_.n_embd}),
                            .dtoken_table = parameters_.wte.grad,  // the head has set it
                            .dposition_table = parameters_.wpe.grad,
                            .accumulate = accumulates_,
                            .dropout = embedding_dropout()});
}

void Gpt2Pass::backward_block(int64_t block) {
  const Gpt2Block& w = parameters_.h[block];
  const Activations& a = blocks_[block];

  gelu_forward(ctx_, {.x = a.fc, .y = gelu_});
  backward_linear(gelu_, w.mlp_c_proj, dbranch_, dfc_, a.fc);
  forward_layernorm(a.x_mid, w.ln_2);
  backward_linear(normed_.y, w.mlp_c_fc, dfc_, dnarrow_);
  dbranch_ =
      backward_layernorm(a.x_mid, w.ln_2, dx_, block_dropout(block, Branch::attention_projection));

  backward_linear(a.attended, w.attn_c_proj, dbranch_, dattended_);
  backward_attention(block);
  forward_layernorm(a.x, w.ln_1);
  backward_linear(normed_.y, w.attn_c_attn, dqkv_, dnarrow_);
  dbranch_ = backward_layernorm(a.x, w.ln_1, dx_, addition_before(block).dropout);
}

// dx_ = the gradient of x through the layernorm in normed_, that of its output being dnarrow_, plus
// dresidual. Gives the gradient of the branch that ends in x, which is dx_ itself without dropout.
Tensor Gpt2Pass::backward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                                    const Tensor& dresidual, const Dropout& dropout) {
  const Tensor dbranch = dropout.active() ? dnarrow_ : Tensor{};
  layernorm_backward(ctx_, {.x = x,
                            .weight = layer.weight.value,
                            .mean = normed_.mean,
                            .rstd = normed_.rstd,
                            .dy = dnarrow_,
                            .dresidual = dresidual,
                            .dx = dx_,
                            .dweight = layer.weight.grad,
                            .dbias = layer.bias.grad,
                            .accumulate = accumulates_,
                            .dbranch = dbranch,
                            .dropout = dropout});
  return dbranch.has_data() ? dbranch : dx_;
}

void Gpt2Pass::backward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& dy,
                               const Tensor& dx, const Tensor& gelu_input) {
  linear_backward(ctx_, {.x = x,
                         .weight = layer.weight.value,
                         .dy = dy,
                         .gelu_input = gelu_input,
                         .dx = dx,
                         .dweight = layer.weight.grad,
                         .dbias = layer.bias.grad,
                         .accumulate = accumulates_});
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
                            .padding = inputs_.padding,
                            .dropout = block_dropout(block, Branch::attention_probabilities),
                            .saved = a.saved});
}

}  // namespace strobe
