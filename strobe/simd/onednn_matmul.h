#pragma once

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// c = a·b (+ bias, then GELU), or c += a·b: matrices, or batches of them where all three have the
// same leading dimensions. Any strides, as long as one of the last two dimensions is contiguous;
// a and b are alike, f32 or bf16; c is like them or f32. Sums are made in f32.
struct Matmul {
  Tensor a;           // […, M, K]
  Tensor b;           // […, K, N]
  Tensor c;           // […, M, N]   set, or added to when `accumulate`
  Tensor bias;        // f32 [N], or absent. Needs c row-major, no batch, no `accumulate`
  bool gelu = false;  // tanh form, after the bias
  bool accumulate = false;
};

// Runs oneDNN's matmul. Primitives are kept for every shape met, for each calling thread; scratch
// memory comes from the context's arena (MemoryUse::workspace). Throws Error where oneDNN has no
// implementation: bf16 needs AVX-512.
void onednn_matmul(Context& ctx, const Matmul& args);

}  // namespace strobe
