#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"
#include "strobe/models/gpt2_config.h"
#include "strobe/models/kv_cache.h"
#include "strobe/models/parameter.h"
#include "strobe/ops/attention/attention.h"

namespace strobe {

// The parameters of one block, named as in Hugging Face's GPT2Block.
struct Gpt2Block {
  struct Layernorm {
    Parameter weight, bias;  // [C]
  };
  struct Linear {
    Parameter weight, bias;  // [inputs, outputs], [outputs]
  };
  Layernorm ln_1;
  Linear attn_c_attn;  // [C, 3C]: queries, keys and values side by side
  Linear attn_c_proj;  // [C, C]
  Layernorm ln_2;
  Linear mlp_c_fc;    // [C, F]
  Linear mlp_c_proj;  // [F, C]
};

// All parameters, without memory at first. The head is tied: it reads wte.
struct Gpt2Parameters {
  explicit Gpt2Parameters(const Gpt2Config& config);  // throws Error unless the config is valid

  Parameter wte;  // [V, C]
  Parameter wpe;  // [n_positions, C]
  std::vector<Gpt2Block> h;
  Gpt2Block::Layernorm ln_f;

  // Calls f(parameter) for every one, in the order of Hugging Face's checkpoints.
  template <class F>
  void for_each(F&& f);
};

// How many numbers a model of this configuration learns; 124,439,808 for GPT-2 small.
int64_t parameter_count(const Gpt2Config& config);

// Throws Error where the device has no matrix products of this type: no model can learn in it.
void check_can_train(const Device& device, DType dtype);

struct Gpt2Inputs;  // strobe/models/gpt2_inputs.h

// Sequences to compute on, in host memory.
struct Gpt2Batch {
  Tensor tokens;  // [B, T] i32 in [0, vocab_size)
  // [B, T] i32 in [0, n_positions), or absent: 0 … T−1 in every row. With left padding, Hugging
  // Face's generation counts from each sequence's first token.
  Tensor positions;
  // [B, T] i32 in [0, vocab_size), or kIgnoredLabel (-100). Aligned with the tokens, as in Hugging
  // Face: the model itself compares the prediction at position t with the label at t + 1.
  Tensor labels;
  // key_begin and key_end give each sequence's span. Labels outside it should be ignored, and so
  // should the first one inside, if padding is left of it: padding would have to predict it.
  AttentionPadding padding;
};

// How many labels a batch's loss averages over: those that are not ignored, but for the first of
// each sequence, which nothing predicts.
int64_t counted_labels(const Tensor& labels);

// What a training pass takes beside the batch.
struct Gpt2TrainingPass {
  uint64_t seed = 0;  // of the run
  uint64_t step = 0;  // counts forward passes: each has its own dropout
  // The gradient is that of loss_scale · mean loss. For k batches to give the gradient of their
  // union, scale each by its share of their counted labels: 1/k where all count alike, 0 for a
  // batch that has none.
  double loss_scale = 1;
  bool accumulate = false;  // add to the gradients that are there, instead of setting them
};

// GPT-2 (Radford et al. 2019): token and position embedding, n_layer pre-layernorm blocks of causal
// attention and a feed-forward part, a last layernorm, and the token table again as the head.
//
// Parameters live in the arena of the context given at construction, for as long as that arena.
// Every call takes what else it needs from the arena and gives it back, so peaks are honest.
// In bf16 and f16, activations and the matrices' working copies are of that type; statistics,
// losses, gradients of parameters, and masters are f32. A CPU has no f16 products, and some have no
// bf16 ones: there f16 is for evaluation only, the matrices and a cache's keys and values are f16,
// activations f32; and so it is in bf16 for evaluation.
class Gpt2 {
 public:
  // Throws Error when the configuration is invalid, or check_can_train() does.
  Gpt2(Context& ctx, const Gpt2Config& config, DType dtype = DType::f32, bool is_trainable = true);

  const Gpt2Config& config() const { return config_; }
  DType dtype() const { return dtype_; }

  template <class F>
  void for_each_parameter(F&& f) {
    parameters_.for_each(f);
  }

  // Swaps the attention of the model in place: "standard", "flash", or one implementation by name.
  // It is the model's own wish, above the context's, and at first that of its configuration; "any"
  // leaves the choice to the context.
  // Throws an Error that lists all names when there is none such.
  void set_attention(std::string_view name);
  const Wish& attention() const { return attention_; }

  // GPT-2's first weights, a function of the seed alone: matrices normal(0, initializer_range), the
  // two projections that end in the residual stream divided by sqrt(2·n_layer); biases 0; layernorm
  // 1 and 0.
  void initialize(Context& ctx, uint64_t seed);

  // Mean cross entropy over the counted labels, without dropout; 0 when every label is ignored.
  double loss(Context& ctx, const Gpt2Batch& batch);

  // The same with dropout, and every parameter's gradient. All gradients are written: when every
  // label is ignored, the loss and the gradients are 0.
  double forward_backward(Context& ctx, const Gpt2Batch& batch, const Gpt2TrainingPass& pass);

  // The same without waiting for the device, from inputs that are there: `losses`, f32 [B·T], is
  // set to the loss of each position, 0 where ignored. It may be recorded (Graph).
  void forward_backward(Context& ctx, const Gpt2Inputs& inputs, const Tensor& losses,
                        bool accumulate);

  // [B, T, V] f32, without dropout, in memory of the arena that the caller's Scope releases. Reads
  // tokens, positions and padding.
  Tensor logits(Context& ctx, const Gpt2Batch& batch);

  // To look at: how much attention each position pays to those before it, in one head of one block
  // (both counted from 0): [B, T, T] f32, row i sums to 1 over columns 0 … i. Memory and what is
  // read are as for logits(). Throws Error when there is no such block or head.
  Tensor attention_probabilities(Context& ctx, const Gpt2Batch& batch, int64_t block, int64_t head);

  // Generation. Each gives what a next token is drawn from: the logits of every sequence's last
  // position, [B, V] f32, in memory of the arena that the caller's Scope releases.

  // Without a cache, from the whole sequences. A sequence's last position is its last one inside
  // [key_begin, key_end). Reads tokens, positions and padding.
  Tensor next_logits(Context& ctx, const Gpt2Batch& batch);

  // A cache of a type and shape that suits this model. `capacity` is how many positions of each
  // sequence it holds, at most n_positions.
  KvCache make_cache(Context& ctx, int64_t sequences, int64_t capacity) const;

  // The same logits; the cache's sequences first, first + 1, … then hold the batch's positions
  // inside [key_begin, key_end), and nothing else.
  Tensor prefill(Context& ctx, const Gpt2Batch& batch, KvCache& cache, int64_t first = 0);

  // Reads one more token of each of the cache's first B sequences: `tokens` is [B] i32, in host
  // memory.
  Tensor decode(Context& ctx, const Tensor& tokens, KvCache& cache);

  // The same after cache.extend(B), with `tokens` on the context's device: nothing waits for it, so
  // that it may be recorded (Graph).
  Tensor decode_extended(Context& ctx, const Tensor& tokens, KvCache& cache);

 private:
  void check_trainable() const;
  Tensor allocate_next_logits(Context& ctx, int64_t batch_size) const;  // [B, V] f32
  void decode_extended(Context& ctx, const Tensor& tokens, KvCache& cache, const Tensor& logits);

  Gpt2Config config_;
  DType dtype_;             // of the matrices
  DType activation_dtype_;  // of what passes between them
  bool is_trainable_;
  Wish attention_;  // what every pass prefers
  Gpt2Parameters parameters_;
};

template <class F>
void Gpt2Parameters::for_each(F&& f) {
  const auto visit = [&](auto& layer) {
    f(layer.weight);
    f(layer.bias);
  };
  f(wte);
  f(wpe);
  for (Gpt2Block& block : h) {
    visit(block.ln_1);
    visit(block.attn_c_attn);
    visit(block.attn_c_proj);
    visit(block.ln_2);
    visit(block.mlp_c_fc);
    visit(block.mlp_c_proj);
  }
  visit(ln_f);
}

}  // namespace strobe
