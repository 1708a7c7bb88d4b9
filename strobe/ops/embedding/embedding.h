#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// out[b,t] = token_table[tokens[b,t]] + position_table[positions[b,t]]
// Tables and out are alike, f32 or bf16, contiguous; the sum is made in f32. Forward, both tables
// may be f16 or bf16 with out in f32.
struct EmbeddingForward {
  Tensor tokens;          // [B, T] i32 in [0, V): another value throws Error
  Tensor positions;       // [B, T] i32 in [0, P), or absent: 0 … T−1 in every row
  Tensor token_table;     // [V, C]
  Tensor position_table;  // [P, C]
  Tensor out;             // [B, T, C]   set
};

struct EmbeddingBackward {
  Tensor tokens, positions;  // as in the forward pass
  Tensor dout;               // [B, T, C]
  Tensor dtoken_table;       // [V, C] f32   always added to: GPT-2's tied head has set it before
  Tensor dposition_table;    // [P, C] f32   added to when `accumulate`, else set (all P rows)
  bool accumulate = false;
};

void embedding_forward(Context& ctx, const EmbeddingForward& args);
void embedding_backward(Context& ctx, const EmbeddingBackward& args);  // bit-reproducible

using EmbeddingImpl = OpImpl<EmbeddingForward, EmbeddingBackward>;
std::span<const EmbeddingImpl> embedding_impls();  // of all devices
std::span<const EmbeddingImpl> embedding_impls_cpu();
std::span<const EmbeddingImpl> embedding_impls_cuda();

}  // namespace strobe
