// dropout_add
//
// Computes    y = residual + Z∘x,  Z = 0 where the element's random byte < threshold, else 1/keep
// Mapping     kLanes Philox counters at a time decide 16·kLanes consecutive elements: the bytes are
//             compared as vectors, transposed to element order, and widened to lane masks
// Numerics    f32; a dropped NaN or infinity becomes 0
#include "strobe/ops/dropout_add/dropout_add_kernels.h"

#include "strobe/simd/loop.h"
#include "strobe/simd/philox.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr int kBlock = 16 * kLanes;  // elements that kLanes counters decide

// keep[e] = −1 where element e of the block survives, 0 where it falls.
STROBE_INLINE void decide_block(int8_t* keep, uint64_t counter, uint32_t threshold, uint32_t key0,
                                uint32_t key1) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes * 4)));
  const U32 lane = bit_cast_to<U32>(lane_index());
  // The counter of lane 0 is a multiple of kLanes, so its lower word does not overflow in a block.
  const PhiloxLanes bits =
      philox<10>({{lane + broadcast_u32(static_cast<uint32_t>(counter)),
                   broadcast_u32(static_cast<uint32_t>(counter >> 32)), U32{}, U32{}}},
                 key0, key1);
  const Bytes limit = static_cast<uint8_t>(threshold) - Bytes{};
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

template <class T>
void run(const T* x, const T* residual, T* y, int64_t first, int64_t count, uint32_t threshold,
         uint32_t key0, uint32_t key1, float keep_scale) {
  const auto base = [&](int64_t i, auto lanes) {
    return residual == nullptr ? zero() : lanes.load(residual + i);
  };
  if (threshold == 0) {
    return for_vectors(count, [&](int64_t i, auto lanes) {
      lanes.store(y + i, lanes.load(x + i) + base(i, lanes));
    });
  }
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    alignas(64) int8_t keep[kBlock];
    decide_block(keep, static_cast<uint64_t>(first + begin) / 16, threshold, key0, key1);
    const int64_t size = count - begin < kBlock ? count - begin : kBlock;
    for_vectors(size, [&](int64_t i, auto lanes) {
      const F32 kept = select(widen_mask(keep + i), lanes.load(x + begin + i), zero());
      lanes.store(y + begin + i, fma(kept, broadcast(keep_scale), base(begin + i, lanes)));
    });
  }
}

}  // namespace

constinit const KernelTable<DropoutAddKernels> dropout_add_kernels = {{&run<float>}, {&run<bf16>}};

}  // namespace strobe::STROBE_ISA
