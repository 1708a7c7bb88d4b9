#pragma once

// Dropout of a warp's 16 rows in attention_forward_flash_sm90 (strobe/ops/attention/dropout.h has
// the definition).

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/gpu/bits.cuh"
#include "strobe/gpu/reduce.cuh"

namespace strobe {

// As DropoutRowBlock (portable/dropout_fragment.cuh): of two neighbouring key blocks a lane makes
// the counter of the one whose parity is its row's, and the lane four away sends the two words that
// it needs of the other.
class FlashForwardSm90Dropout {
 public:
  // What decides about 16 rows and two neighbouring key blocks, words 0 and 1, or 2 and 3: the top
  // bits of bytes stay.
  struct Draw {
    uint32_t even[2], odd[2];
  };

  __device__ FlashForwardSm90Dropout(const Dropout& dropout, PhiloxKey key, uint32_t head,
                                     uint32_t row_block) {
    const uint32_t lane = threadIdx.x % kWarpSize;
    const uint32_t index = 4 * (lane / 8) + lane % 4;
    is_odd_row_ = lane / 4 % 2 != 0;
    // Round 1, of (row_block, K16, index, head), all but K16 but its parity.
    first_word_ = __umulhi(kPhiloxMultiplier1, index) ^ key.word[0] ^ (is_odd_row_ ? 1 : 0);
    const uint32_t word1 = kPhiloxMultiplier1 * index;
    const uint32_t word2 = __umulhi(kPhiloxMultiplier0, row_block) ^ head ^ key.word[1];
    const uint32_t word3 = kPhiloxMultiplier0 * row_block;
    // Round 2: words 0 and 1 come from word 2, words 2 and 3 from word 0, which has K16 in it.
    next_key(key);
    const uint32_t second_word0 = __umulhi(kPhiloxMultiplier1, word2) ^ word1 ^ key.word[0];
    const uint32_t second_word1 = kPhiloxMultiplier1 * word2;
    second_xor2_ = word3 ^ key.word[1];
    // Round 3.
    next_key(key);
    third_xor0_ = second_word1 ^ key.word[0];
    third_xor2_ = __umulhi(kPhiloxMultiplier0, second_word0) ^ key.word[1];
    third_word3_ = kPhiloxMultiplier0 * second_word0;
    // [perf] Exchanged with themselves, or the compiler would add anew for every tile.
#pragma unroll
    for (PhiloxKey& later : later_keys_) {
      next_key(key);
      for (int i = 0; i < 2; ++i) later.word[i] = __shfl_xor_sync(kFullWarp, key.word[i], 0);
    }
    // A byte stays where adding 256 − threshold carries out of it.
    const uint32_t addend = 256 - dropout.threshold;
    zero_ = dropout.threshold >> 8;  // which the compiler does not know
    // [perf] Exchanged with itself, or the compiler would multiply anew for every word.
    low_addend_ = __shfl_xor_sync(kFullWarp, (addend & 0x7fu) * 0x01010101u, 0);
    high_addend_ = __shfl_xor_sync(kFullWarp, (addend & 0x80u) != 0 ? 0xffffffffu : 0, 0);
    // Word 0 decides about even keys, in odd row blocks about odd ones.
    swap_ = row_block % 2 != 0 ? 0x4444u : 0;
  }

  // Of the key blocks 2·pair and 2·pair + 1. [perf] `after` is a value that the drawing shall wait
  // for: left to itself, the compiler draws between products, and the tensor cores wait.
  __device__ __forceinline__ Draw draw(uint32_t pair, uint32_t after) const {
    uint32_t mine[4];
    words((2 * pair) ^ (after & zero_), mine);
    mine[2] = __shfl_xor_sync(kFullWarp, mine[2], 4);
    mine[3] = __shfl_xor_sync(kFullWarp, mine[3], 4);
#pragma unroll
    for (uint32_t& word : mine) word = survivors(word);
    Draw draw;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      draw.even[i] = is_odd_row_ ? mine[2 + i] : mine[i];
      draw.odd[i] = is_odd_row_ ? mine[i] : mine[2 + i];
    }
    return draw;
  }

  // Clears what falls of the fragment of a key block: four registers of two elements, as mma's A
  // operand.
  __device__ __forceinline__ void clear(uint32_t (&fragment)[4], const uint32_t (&words)[2]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // Byte 2·(row / 8) + key / 8 of each word; register i has row / 8 = i % 2, key / 8 = i / 2.
      const uint32_t byte = 2 * (i % 2) + i / 2;
      const uint32_t selector = (kTopBit + byte) * 0x11u + (kTopBit + 4 + byte) * 0x1100u;
      fragment[i] &= permute_bytes(words[0], words[1], selector ^ swap_);
    }
  }

 private:
  static __device__ __forceinline__ void next_key(PhiloxKey& key) {
    key.word[0] += kPhiloxWeyl0;
    key.word[1] += kPhiloxWeyl1;
  }

  // philox<7>({row_block, key_block, index, head}, key)
  __device__ __forceinline__ void words(uint32_t key_block, uint32_t (&x)[4]) const {
    const uint64_t second = static_cast<uint64_t>(kPhiloxMultiplier0) * (first_word_ ^ key_block);
    const uint32_t second2 = static_cast<uint32_t>(second >> 32) ^ second_xor2_;
    const uint64_t third = static_cast<uint64_t>(kPhiloxMultiplier1) * second2;
    x[0] = static_cast<uint32_t>(third >> 32) ^ third_xor0_;
    x[1] = static_cast<uint32_t>(third);
    x[2] = static_cast<uint32_t>(second) ^ third_xor2_;
    x[3] = third_word3_;
#pragma unroll
    for (int round = 3; round < kPhiloxAttentionRounds; ++round) {
      const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * x[0];
      const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * x[2];
      const PhiloxKey& key = later_keys_[round - 3];
      x[0] = combine_bits<kExclusiveOr>(product1 >> 32, x[1], key.word[0]);
      x[2] = combine_bits<kExclusiveOr>(product0 >> 32, x[3], key.word[1]);
      x[1] = static_cast<uint32_t>(product1);
      x[3] = static_cast<uint32_t>(product0);
    }
  }

  // The top bit of every byte: whether that byte is at least the threshold.
  __device__ __forceinline__ uint32_t survivors(uint32_t word) const {
    return combine_bits<kMajority>(word, (word & 0x7f7f7f7fu) + low_addend_, high_addend_);
  }

  uint32_t first_word_, second_xor2_, third_xor0_, third_xor2_, third_word3_;
  PhiloxKey later_keys_[kPhiloxAttentionRounds - 3];
  uint32_t low_addend_, high_addend_, zero_, swap_;
  bool is_odd_row_;
};

}  // namespace strobe
