#pragma once

#include <cstdint>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"
#include "strobe/models/gpt2.h"

namespace strobe {

// One pass of GPT-2 over one batch: the forward pass, and in training its mirror image. Activations
// live in the arena as long as the Gpt2Pass does. Only Gpt2 makes one.
//
// Shapes: B sequences of T positions, M = B·T rows; C = n_embd, H = n_head, D = C/H, F = n_inner,
// V = vocab_size. Tensors are of the model's type unless a comment says f32.
class Gpt2Pass {
 public:
  // `training` is null in evaluation: then there is no dropout, and nothing is kept for a backward.
  // Throws Error when the batch does not fit the model.
  Gpt2Pass(Context& ctx, const Gpt2Config& config, Gpt2Parameters& parameters, DType dtype,
           const Gpt2Batch& batch, const Gpt2TrainingPass* training);

  // In this order: forward(), then logits() or loss(), then in training backward().
  void forward();                     // embedding, blocks, last layernorm
  void logits(const Tensor& logits);  // [M, V], also f32 where the model is not   set
  double loss();    // head and mean cross entropy; in training also the gradient of both
  void backward();  // last layernorm, blocks, embedding

 private:
  // A layernorm's output and statistics.
  struct Normed {
    Tensor y;     // [M, C]
    Tensor mean;  // [M] f32
    Tensor rstd;  // [M] f32
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
  Tensor head_weight() const { return parameters_.wte.value.transpose(0, 1); }  // [C, V]

  // Number 0 is the embedding's, 1 + 3·block + branch a block's.
  Dropout dropout(double p, uint32_t number) const;
  Dropout embedding_dropout() const { return dropout(config_.embd_pdrop, 0); }
  Dropout block_dropout(int64_t block, Branch branch) const;

  void forward_block(int64_t block);
  void forward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer);
  void forward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& y);
  void forward_attention(int64_t block);

  void backward_block(int64_t block);
  void backward_layernorm(const Tensor& x, const Gpt2Block::Layernorm& layer,
                          const Tensor& dresidual);
  void backward_linear(const Tensor& x, const Gpt2Block::Linear& layer, const Tensor& dy,
                       const Tensor& dx);
  void backward_attention(int64_t block);
  Tensor backward_dropout(const Dropout& dropout);

  Context& ctx_;
  const Arena::Scope scope_;
  const Gpt2Config& config_;
  Gpt2Parameters& parameters_;
  const DType dtype_;
  const Gpt2Batch& batch_;
  const Gpt2TrainingPass* const training_;
  const int64_t batch_size_;  // B
  const int64_t time_;        // T
  const int64_t rows_;        // M

  std::vector<Activations> blocks_;
  Tensor x_final_;  // [M, C]    the residual stream after the last block
  Normed normed_;   // of the layernorm at hand
  Tensor gelu_;     // [M, F]    of the block at hand

  // Gradients on their way back: one set serves all blocks.
  Tensor dx_;         // [M, C]  of the residual stream
  Tensor dnarrow_;    // [M, C]  of what a half-block adds to the stream, then of its layernorm
  Tensor dfc_;        // [M, F]  of gelu, then of fc
  Tensor dqkv_;       // [M, 3C]   dqkv and dattended are needed when dfc is not, so they lie in
  Tensor dattended_;  // [M, C]    the same memory
};

}  // namespace strobe
