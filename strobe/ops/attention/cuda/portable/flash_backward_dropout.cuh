#pragma once

// Dropout on the scores of flash backward, which lie in accumulators with queries or keys as rows
// (strobe/ops/attention/dropout.h has the definition).

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/gpu/bits.cuh"
#include "strobe/gpu/reduce.cuh"

namespace strobe {

// Of two 16×16 blocks of scores, side by side: what a lane needs to know which of its elements
// survive. survivors[b][e] has in the top bits of its bytes those of block b, column parity e.
struct DropoutPair {
  uint32_t survivors[2][2];
};

// The same in one word: survivors[b][e] is bit 7 − 2·b − e of each of its bytes.
using PackedSurvivors = uint32_t;

// A lane's eight elements of a 16×16 block lie in one Philox counter, which the lane four away
// shares. Of two blocks that are neighbours along the columns, a lane computes the counter of the
// one whose parity is that of its row, keeps two words and sends the two others to that lane.
template <bool kRowsAreKeys>
class DropoutColumns {
 public:
  __device__ explicit DropoutColumns(const Dropout& dropout)
      : key_(dropout.current_key()),
        low_addend_((256 - dropout.threshold) % 128 * 0x01010101u),
        high_addend_(256 - dropout.threshold >= 128 ? 0xffffffffu : 0) {}

  // The blocks (row_block, column_block) and (row_block, column_block + 1); column_block is even.
  __device__ __forceinline__ DropoutPair pair(uint32_t head, uint32_t row_block,
                                              uint32_t column_block) const {
    const uint32_t lane = threadIdx.x % kWarpSize, row = lane / 4, column = lane % 4;
    const uint32_t row_parity = row % 2, own_block = column_block + row_parity;
    const uint32_t index = kRowsAreKeys ? 4 * column + row / 2 : 4 * (row / 2) + column;
    const PhiloxWords words = philox<kPhiloxAttentionRounds>(
        {{kRowsAreKeys ? own_block : row_block, kRowsAreKeys ? row_block : own_block, index, head}},
        key_);
    constexpr int kKept[2] = {0, kRowsAreKeys ? 2 : 1}, kSent[2] = {kRowsAreKeys ? 1 : 2, 3};
    DropoutPair pair;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t kept = survivors(words.word[kKept[e]]);
      const uint32_t received = survivors(__shfl_xor_sync(kFullWarp, words.word[kSent[e]], 4));
      pair.survivors[0][e] = row_parity != 0 ? received : kept;
      pair.survivors[1][e] = row_parity != 0 ? kept : received;
    }
    if (row_block % 2 != 0) {
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const uint32_t first = pair.survivors[b][0];
        pair.survivors[b][0] = pair.survivors[b][1];
        pair.survivors[b][1] = first;
      }
    }
    return pair;
  }

  // pair() of which the parity of row_block is known when compiling, so that what it decides is.
  template <bool kIsOddRowBlock>
  __device__ __forceinline__ PackedSurvivors packed(uint32_t head, uint32_t row_block,
                                                    uint32_t column_block) const {
    const uint32_t lane = threadIdx.x % kWarpSize, row = lane / 4, column = lane % 4;
    const uint32_t row_parity = row % 2, own_block = column_block + row_parity;
    const uint32_t index = kRowsAreKeys ? 4 * column + row / 2 : 4 * (row / 2) + column;
    const PhiloxWords words = philox<kPhiloxAttentionRounds>(
        {{kRowsAreKeys ? own_block : row_block, kRowsAreKeys ? row_block : own_block, index, head}},
        key_);
    constexpr int kKept[2] = {0, kRowsAreKeys ? 2 : 1}, kSent[2] = {kRowsAreKeys ? 1 : 2, 3};
    constexpr uint32_t kTopBits = 0x80808080u;
    uint32_t mine = 0, others = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int place = kIsOddRowBlock ? 1 - e : e;
      const uint32_t sent = __shfl_xor_sync(kFullWarp, words.word[kSent[e]], 4);
      mine |= (survivors(words.word[kKept[e]]) & kTopBits) >> place;
      others |= (survivors(sent) & kTopBits) >> place;
    }
    return row_parity != 0 ? others | mine >> 2 : mine | others >> 2;
  }

  // survivor_mask() of a packed pair.
  static __device__ __forceinline__ uint32_t survivor_mask(PackedSurvivors survivors, int block,
                                                           int half, int element) {
    return permute_bytes(survivors << (2 * block + element % 2), 0,
                         (kTopBit + byte_of(half, element / 2)) * 0x1111u);
  }

  // The same of two neighbouring columns of 16 bits each.
  static __device__ __forceinline__ uint32_t survivor_masks(PackedSurvivors survivors, int block,
                                                            int half, int row_half) {
    const uint32_t byte = byte_of(half, row_half);
    return permute_bytes(survivors << (2 * block), survivors << (2 * block + 1),
                         (kTopBit + byte) * 0x11u + (kTopBit + 4 + byte) * 0x1100u);
  }

  // All ones where element `element` of the accumulator of columns 8·half, … of block `block`
  // survives, else zero.
  static __device__ __forceinline__ uint32_t survivor_mask(const DropoutPair& pair, int block,
                                                           int half, int element) {
    return permute_bytes(pair.survivors[block][element % 2], 0,
                         (kTopBit + byte_of(half, element / 2)) * 0x1111u);
  }

 private:
  static __device__ constexpr uint32_t byte_of(int half, int row_half) {
    return kRowsAreKeys ? 2 * half + row_half : 2 * row_half + half;
  }

  // The top bit of every byte: whether that byte is at least the threshold, so that adding
  // 256 − threshold carries out of it.
  __device__ __forceinline__ uint32_t survivors(uint32_t word) const {
    const uint32_t sum = (word & 0x7f7f7f7fu) + low_addend_;
    return (word & sum) | (high_addend_ & (word | sum));
  }

  PhiloxKey key_;
  uint32_t low_addend_, high_addend_;
};

}  // namespace strobe
