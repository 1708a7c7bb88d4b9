#pragma once

// GELU in its tanh form (Hendrycks & Gimpel 2016) and its derivative. With the logistic function
// s = 1/(1 + e^(−t)), t = 2√(2/π)(x + 0.044715x³):  ½(1 + tanh(t/2)) = s, which keeps its relative
// accuracy where 1 + tanh cancels. Beyond ±16, s is 1 or 0 in f32; the clamp keeps x³ finite.
namespace strobe {

struct Gelu {
  static constexpr float kScale = 2 * 0.7978845608f;  // 2√(2/π)
  static constexpr float kCubic = 0.044715f * kScale;
  static constexpr float kLog2E = 1.4426950409f;

  static __device__ __forceinline__ float value(float x) { return x * sigmoid(clamp(x)); }

  static __device__ __forceinline__ float derivative(float x) {
    const float c = clamp(x), s = sigmoid(c);
    const float slope = fmaf(c * c, 3 * kCubic, kScale);
    return fmaf(c * s * (1.0f - s), slope, s);
  }

 private:
  // By comparison, which a NaN passes.
  static __device__ __forceinline__ float clamp(float x) {
    const float below = x > 16.0f ? 16.0f : x;
    return below < -16.0f ? -16.0f : below;
  }
  static __device__ __forceinline__ float sigmoid(float x) {  // of a clamped x
    const float minus_t_log2 = x * fmaf(x * x, -kCubic * kLog2E, -kScale * kLog2E);
    return __fdividef(1.0f, 1.0f + exp2f(minus_t_log2));
  }
};

}  // namespace strobe
