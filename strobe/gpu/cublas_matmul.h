#pragma once

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// c = a·b, or c += a·b. Any strides, as long as one of a matrix's dimensions is contiguous; a and b
// are alike, f32, f16 or bf16; c is like them or f32. Sums are made in f32. What comes after the
// product is applied in f32, before c is rounded; it needs a row-major c.
struct CublasMatmul {
  Tensor a;               // [M, K]
  Tensor b;               // [K, N]
  Tensor c;               // [M, N]   set, or added to when `accumulate`
  Tensor bias;            // [N] of c's type, or absent: c = a·b + bias
  bool gelu = false;      // c = gelu(a·b + bias), tanh form
  Tensor pre_activation;  // [M, N] like c, or absent; set to a·b + bias (only with gelu)
  Tensor gelu_input;      // [M, N] like c, or absent: c = (a·b)·gelu′(gelu_input)
  bool accumulate = false;
  bool tf32 = false;  // may round f32 operands to tf32, for several times the speed
};

// Puts cuBLASLt's matmul on the context's stream. Its workspace, of one size always, comes from the
// context's arena. Throws Error where the library has no algorithm.
//
// The first call of a kind (sizes, types, layouts, epilogue) in a process measures the algorithms
// that the library proposes, unless it accumulates or is being recorded, when c cannot be written
// more than once. Only those are taken that give the same bits as the library's own first choice:
// what is chosen depends on the clock, results do not.
void cublas_matmul(Context& ctx, const CublasMatmul& args);

// Measures as the first call does, and leaves c unspecified: for a product that accumulates always.
void cublas_measure(Context& ctx, const CublasMatmul& args);

}  // namespace strobe
