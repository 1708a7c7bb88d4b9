#pragma once

// Sums in global memory that blocks add to in any order.

namespace strobe {

// Adds four neighbours, from an address aligned to 16 bytes; one instruction from sm_90 on.
__device__ __forceinline__ void atomic_add_4(float* to, const float (&x)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x[0]), "f"(x[1]),
               "f"(x[2]), "f"(x[3])
               : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    asm volatile("red.global.add.f32 [%0], %1;" ::"l"(to + i), "f"(x[i]) : "memory");
  }
#endif
}

}  // namespace strobe
