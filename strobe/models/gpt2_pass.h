#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"
#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_inputs.h"
#include "strobe/models/kv_cache.h"

namespace strobe {

// The positions of a sequence that are not padding: [begin, end).
struct Gpt2Span {
  int64_t begin, end;
};

// One pass of GPT-2 over one batch: the forward pass, and in training its mirror image. Activations
// live in the arena as long as the Gpt2Pass does. Only Gpt2 makes one.
//
// Nothing in a training pass waits for the device or depends on anything but the inputs' shape: so
// it can be recorded (Graph), and replayed with other inputs.
//
// Shapes: B sequences of T positions, M = B·T rows; C = n_embd, H = n_head, D = C/H, F = n_inner,
// V = vocab_size. Tensors are of the activations' type, unless f32 is said.
class Gpt2Pass {
 public:
  // Evaluation has no dropout, and keeps nothing for a backward.
  enum class Kind : unsigned char { evaluation, training };

  // `dtype` is the type of activations. With `accumulate`, gradients are added to those there are.
  Gpt2Pass(Context& ctx, const Gpt2Config& config, Gpt2Parameters& parameters, DType dtype,
           const Gpt2Inputs& inputs, Kind kind = Kind::evaluation, bool accumulate = false);

  // One head whose attention forward() then also writes down: `probabilities` is [B, T, T] f32.
  struct WatchedHead {
    int64_t block = -1, head = 0;
    Tensor probabilities;
  };
  void watch(const WatchedHead& head) { watched_ = head; }

  // The positions of each sequence that are not padding.
  using Spans = std::span<const Gpt2Span>;

  // In this order: forward() or one of its kin, then logits(), next_logits() or loss(), then in
  // training backward().
  void forward();  // embedding and blocks
  // forward(), which also leaves keys and values of each span in the sequences first, first + 1, …
  void prefill(KvCache& cache, int64_t first, Spans spans);
  // forward() of the newest position of the first B sequences (T = 1), for which the host has made
  // room; attention is to the cache. It waits for nothing, and may be recorded.
  void decode(KvCache& cache);

  // Last layernorm and head; may be f32 where the model is not.
  void logits(const Tensor& logits);  // [M, V]   set
  // [B, V]   set: of each span's last position, or of the only one where T = 1
  void next_logits(const Tensor& logits, Spans spans);
  // The same and cross entropy of each row, f32 [M], 0 where ignored; in training also the gradient
  // of their sum times gradient_scale.
  void losses(const Tensor& losses);
  void backward();  // last layernorm, blocks, embedding

 private:
  // Queries, keys and values as views [B, T, H, D] of the packed projection [M, 3C].
  struct QkvViews {
    Tensor q, k, v;
    QkvViews(const Tensor& qkv, int64_t batch, int64_t time, int64_t heads);
  };

  // A layernorm's output and statistics.
  struct Normed {
    Tensor y;     // [M, C]
    Tensor mean;  // [M] f32
    Tensor rstd;  // [M] f32
  };

  // What the layer before a layernorm adds to the residual stream: x = residual + dropout(branch).
  // The branch itself lies where x will be.
  struct Addition {
    Tensor residual;  // absent: nothing is added
    Dropout dropout;
  };

  // What a block keeps from forward to backward; in evaluation all blocks share one set. The
  // outputs of its layernorms and of GELU are not among it: computing them again costs 0.3% of a
  // step in f32 and 0.7% in bf16 (124M, T = 1024), and keeping them would take 6 units of memory
  // beside these 10 (units of M·C, F = 4C).
  struct Activations {
    Tensor x;         // [M, C]      the residual stream on entry
    Tensor qkv;       // [M, 3C]
    Tensor attended;  // [M, C]      attention's output
    Tensor lse;       // [B, H, T] f32
    Tensor saved;     // opaque, what the attention algorithm keeps; absent in evaluation
    Tensor x_mid;     // [M, C]      the residual stream between attention and feed-forward
    Tensor fc;        // [M, F]      before GELU; absent in evaluation
  };

  // The three dropouts of a block, in the order of their numbers.
  enum class Branch : uint32_t { attention_probabilities, attention_projection, feed_forward };

  Tensor allocate(Shape shape) { return allocate(dtype_, shape); }
  Tensor allocate(DType dtype, Shape shape) {
    return ctx_.arena().allocate(MemoryUse::activations, dtype, shape);
  }
  Activations allocate_block();
  float attention_scale() const { return 1 / std::sqrt(static_cast<float>(config_.head_dim())); }
  Tensor head_weight() const { return parameters_.wte.value.transpose(0, 1); }  // [C, V]

  // Number 0 is the embedding's, 1 + 3·block + branch a block's.
  Dropout dropout(double p, uint32_t number) const;
  Dropout embedding_dropout() const { return dropout(config_.embd_pdrop, 0); }
  Dropout block_dropout(int64_t block, Branch branch) const;

  // What makes the stream that enters a block, or with n_layer that leaves the last one.
  Addition addition_before(int64_t block) const;

  void forward_block(int64_t block);
  void forward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                         const Addition* addition = nullptr);
  void forward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& y);
  void forward_attention(int64_t block);
  void take_cache(KvCache& cache);  // throws Error unless it is one of this model's shape
  void decode_attention(int64_t block, const QkvViews& qkv);

  void backward_block(int64_t block);
  Tensor backward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                            const Tensor& dresidual, const Dropout& dropout);
  void backward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& dy,
                       const Tensor& dx, const Tensor& gelu_input = {});
  void backward_attention(int64_t block);

  Context& ctx_;
  const Arena::Scope scope_;
  const Gpt2Config& config_;
  Gpt2Parameters& parameters_;
  const DType dtype_;  // of activations
  const Gpt2Inputs inputs_;
  const bool is_training_;
  const bool accumulates_;
  const int64_t batch_size_;  // B
  const int64_t time_;        // T
  const int64_t rows_;        // M

  KvCache* cache_ = nullptr;  // none in training
  int64_t first_ = 0;         // the cache's sequence that is this batch's first one
  bool reads_cache_ = false;  // attention is to the cache, not to this batch's positions alone

  WatchedHead watched_;
  std::vector<Activations> blocks_;
  Tensor x_final_;  // [M, C]    the residual stream after the last block
  Normed normed_;   // of the layernorm at hand
  Tensor gelu_;     // [M, F]    of the block at hand

  // Gradients on their way back: one set serves all blocks.
  Tensor dx_;         // [M, C]  of the residual stream
  Tensor dnarrow_;    // [M, C]  of a layernorm's output
  Tensor dbranch_;    // [M, C]  of what was added to the stream last: dnarrow_, or dx_ itself
  Tensor dfc_;        // [M, F]  of fc
  Tensor dqkv_;       // [M, 3C]   dqkv and dattended are needed when dfc is not, so they lie in
  Tensor dattended_;  // [M, C]    the same memory
};

}  // namespace strobe
