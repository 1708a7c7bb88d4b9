#pragma once

// Functions of one instruction, where its accuracy is enough and a flag for the whole file would be
// too much.
namespace strobe {

// 2^x to two units in the last place; 0 below 2^−126, 0 for −∞.
__device__ __forceinline__ float exp2_approximately(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

// The base-2 logarithm to 2^−22, or to two units in the last place; x is normal.
__device__ __forceinline__ float log2_approximately(float x) {
  float logarithm;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(logarithm) : "f"(x));
  return logarithm;
}

}  // namespace strobe
