#pragma once

#include <cstdint>

#include "strobe/core/random.h"

namespace strobe {

// Dropout by element (strobe/core/element_dropout.h) in a kernel: Z∘x is zero_dropped(x) times
// keep_scale().
class ElementDropout {
 public:
  __device__ __forceinline__ explicit ElementDropout(const Dropout& dropout)
      : threshold_(dropout.threshold), keep_scale_(dropout.keep_scale()) {
    if (threshold_ != 0) key_ = dropout.current_key();
  }

  __device__ __forceinline__ bool active() const { return threshold_ != 0; }
  __device__ __forceinline__ float keep_scale() const { return keep_scale_; }

  // Of kCount neighbours, the first of which is element `first`, a multiple of kCount: those that
  // fall become 0. At most 16, as many as one counter decides.
  template <int kCount>
  __device__ __forceinline__ void zero_dropped(float (&x)[kCount], int64_t first) const {
    static_assert(kCount <= 16 && 16 % kCount == 0);
    if (threshold_ == 0) return;
    const auto counter = static_cast<uint64_t>(first) / 16;
    const PhiloxWords bits = philox(
        {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, key_);
    constexpr int kWords = (kCount + 3) / 4;
    const int first_word = static_cast<int>(first % 16) / 4;
    const int shift = 8 * static_cast<int>(first % 4);  // not 0 only where kCount is below 4
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const uint32_t bytes = word_of(bits, first_word + w) >> shift;
#pragma unroll
      for (int i = 4 * w; i < kCount && i < 4 * w + 4; ++i) {
        if ((bytes >> (8 * (i % 4)) & 0xff) < threshold_) x[i] = 0;
      }
    }
  }

 private:
  // By selection: an index that is not known while compiling would put the words into memory.
  static __device__ __forceinline__ uint32_t word_of(const PhiloxWords& bits, int i) {
    const uint32_t low = i % 2 == 0 ? bits.word[0] : bits.word[1];
    const uint32_t high = i % 2 == 0 ? bits.word[2] : bits.word[3];
    return i < 2 ? low : high;
  }

  uint32_t threshold_;
  float keep_scale_;
  PhiloxKey key_{};
};

}  // namespace strobe
