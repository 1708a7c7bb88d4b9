#pragma once

#include <span>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"

namespace strobe {

// out[b,t] = Z∘(token_table[tokens[b,t]] + position_table[positions[b,t]])
// Z is 1 without dropout, else 0 or 1/keep by position in out (strobe/core/element_dropout.h); the
// sum is made in f32 and rounded before Z. Tables and out are alike, f32 or bf16 (on a GPU also
// f16), contiguous. Forward, both tables may be f16 or bf16 with out in f32.
//
// A token or position that its table does not have throws Error where the host can read it. In the
// memory of a GPU it cannot: such a row of out is NaN, and its gradient is left out.
struct EmbeddingForward {
  Tensor tokens;          // [B, T] i32 in [0, V)
  Tensor positions;       // [B, T] i32 in [0, P), or absent: 0 … T−1 in every row
  Tensor token_table;     // [V, C]
  Tensor position_table;  // [P, C]
  Tensor out;             // [B, T, C]   set
  Dropout dropout;
};

struct EmbeddingBackward {
  Tensor tokens, positions;  // as in the forward pass
  Tensor dout;               // [B, T, C]
  Tensor dtoken_table;       // [V, C] f32   always added to: GPT-2's tied head has set it before
  Tensor dposition_table;    // [P, C] f32   added to when `accumulate`, else set (all P rows)
  bool accumulate = false;
  Dropout dropout;  // the same as in the forward pass
};

void embedding_forward(Context& ctx, const EmbeddingForward& args);
void embedding_backward(Context& ctx, const EmbeddingBackward& args);  // bit-reproducible

using EmbeddingImpl = OpImpl<EmbeddingForward, EmbeddingBackward>;
std::span<const EmbeddingImpl> embedding_impls();  // of all devices
std::span<const EmbeddingImpl> embedding_impls_cpu();
std::span<const EmbeddingImpl> embedding_impls_cuda();

}  // namespace strobe
