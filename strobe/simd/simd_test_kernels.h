#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// The kernel kit's functions over arrays, for tests: of one instruction set. `n` is a multiple of
// 16.
struct SimdFunctions {
  int lanes;
  void (*exp2)(const float* x, float* y, int64_t n);
  void (*exp)(const float* x, float* y, int64_t n);
  void (*gelu)(const float* x, float* y, int64_t n);
  void (*gelu_derivative)(const float* x, float* y, int64_t n);
  void (*sqrt)(const float* x, float* y, int64_t n);
  void (*round_to_bf16)(const float* x, bf16* y, int64_t n);
  void (*widen_bf16)(const bf16* x, float* y, int64_t n);
  void (*copy_partial)(const float* x, float* y, int n);        // of one vector
  void (*copy_partial_bf16)(const bf16* x, bf16* y, int n);     // of one vector
  void (*keep_lanes)(uint32_t bits, const float* x, float* y);  // of one vector
  bool (*any_above)(const float* x, const float* y);            // of one vector
  float (*sum_lanes)(const float* x);                           // of one vector
  void (*sum_each)(const float* x, float* sums);                // of lanes vectors
  float (*max_lanes)(const float* x);                           // of one vector
  // words[4·i …] = philox<7>({counter + i, 1, 2, 3}, {key0, key1}) for i < lanes
  void (*philox7)(uint32_t counter, uint32_t key0, uint32_t key1, uint32_t* words);
};

namespace scalar {
extern const SimdFunctions simd_functions;
}
namespace avx2 {
extern const SimdFunctions simd_functions;
}
namespace avx512 {
extern const SimdFunctions simd_functions;
}
namespace avx512_bf16 {
extern const SimdFunctions simd_functions;
}

}  // namespace strobe
