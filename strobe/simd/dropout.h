// Dropout by element (strobe/core/element_dropout.h), kLanes Philox counters at a time.
#pragma once

#include "strobe/core/random.h"
#include "strobe/simd/loop.h"
#include "strobe/simd/philox.h"

namespace strobe::STROBE_ISA {

constexpr int kDropoutBlock = 16 * kLanes;  // elements that kLanes counters decide

// keep[e] = −1 where element e of the block survives, 0 where it falls. `counter` is that of the
// block's first 16 elements, a multiple of kLanes: so its lower word does not overflow inside.
STROBE_INLINE void decide_dropout_block(int8_t* keep, uint64_t counter, const Dropout& dropout) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes * 4)));
  const U32 lane = bit_cast_to<U32>(lane_index());
  const PhiloxLanes bits =
      philox<10>({{lane + broadcast_u32(static_cast<uint32_t>(counter)),
                   broadcast_u32(static_cast<uint32_t>(counter >> 32)), U32{}, U32{}}},
                 dropout.key.word[0], dropout.key.word[1]);
  const Bytes limit = static_cast<uint8_t>(dropout.threshold) - Bytes{};
  uint32_t words[4][kLanes];
  for (int w = 0; w < 4; ++w) {
    const auto kept = bit_cast_to<Bytes>(bits.word[w]) >= limit;
    std::memcpy(words[w], &kept, sizeof(kept));
  }
  for (int i = 0; i < kLanes; ++i) {
    for (int w = 0; w < 4; ++w) std::memcpy(keep + 16 * i + 4 * w, &words[w][i], 4);
  }
}

STROBE_INLINE I32 widen_mask(const int8_t* keep) {
  typedef int8_t Bytes __attribute__((vector_size(kLanes)));
  Bytes bytes;
  std::memcpy(&bytes, keep, sizeof(bytes));
  return __builtin_convertvector(bytes, I32);
}

// y = residual + Z∘x of `count` elements, the first of which is element `first` of its tensor.
// `residual` may be null: 0. y may be x or residual. A dropped NaN or infinity becomes 0.
template <class From, class To>
STROBE_INLINE void add_dropped(const From* x, const To* residual, To* y, int64_t first,
                               int64_t count, const Dropout& dropout) {
  const auto base = [&](int64_t i, auto lanes) {
    return residual == nullptr ? zero() : lanes.load(residual + i);
  };
  if (dropout.threshold == 0) {
    return for_vectors(count, [&](int64_t i, auto lanes) {
      lanes.store(y + i, lanes.load(x + i) + base(i, lanes));
    });
  }
  const F32 keep_scale = broadcast(256.0f / (256.0f - static_cast<float>(dropout.threshold)));
  int64_t ahead = first % kDropoutBlock;  // elements of the first block that lie before x
  for (int64_t begin = 0; begin < count; ahead = 0) {
    alignas(64) int8_t keep[kDropoutBlock + kLanes];  // widen_mask() may read beyond the block
    decide_dropout_block(keep, static_cast<uint64_t>(first + begin - ahead) / 16, dropout);
    const int64_t room = kDropoutBlock - ahead;
    const int64_t size = count - begin < room ? count - begin : room;
    for_vectors(size, [&](int64_t i, auto lanes) {
      const F32 kept = select(widen_mask(keep + ahead + i), lanes.load(x + begin + i), zero());
      lanes.store(y + begin + i, fma(kept, keep_scale, base(begin + i, lanes)));
    });
    begin += size;
  }
}

}  // namespace strobe::STROBE_ISA
