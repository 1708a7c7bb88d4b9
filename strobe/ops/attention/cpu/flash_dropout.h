// Dropout masks of blocks of 16 × 16 scores (strobe/ops/attention/dropout.h has the definition).
#pragma once

#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/simd/philox.h"

namespace strobe::STROBE_ISA {

constexpr int kDropoutBlock = 16;

// The bytes of the 16 counters of block (row_block, key_block): bytes[word][counter].
STROBE_INLINE void dropout_words(const FlashDropout& dropout, uint32_t row_block,
                                 uint32_t key_block, uint32_t (&words)[4][16]) {
  for (int first = 0; first < 16; first += kLanes) {
    const U32 counter = bit_cast_to<U32>(lane_index() + first);
    const PhiloxLanes random =
        philox<7>({{broadcast_u32(row_block), broadcast_u32(key_block), counter,
                    broadcast_u32(dropout.head)}},
                  dropout.key[0], dropout.key[1]);
    for (int w = 0; w < 4; ++w) std::memcpy(&words[w][first], &random.word[w], sizeof(U32));
  }
}

// masks[r·stride] for r < 16: bit k is set where element (r, k) of the block survives.
STROBE_INLINE void dropout_block(const FlashDropout& dropout, uint32_t row_block,
                                 uint32_t key_block, uint16_t* masks, int64_t stride) {
  alignas(64) uint32_t words[4][16];
  dropout_words(dropout, row_block, key_block, words);
  for (uint32_t r = 0; r < 16; ++r) {
    uint32_t mask = 0;
    for (uint32_t k = 0; k < 16; ++k) {
      const uint32_t word = 2 * ((r ^ key_block) % 2) + ((k ^ row_block) % 2);
      const uint32_t byte = 2 * (r / 8) + k / 8;
      const uint32_t bits = words[word][4 * (r / 2 % 4) + k / 2 % 4];
      mask |= static_cast<uint32_t>((bits >> (8 * byte) & 0xffu) >= dropout.threshold) << k;
    }
    masks[r * stride] = static_cast<uint16_t>(mask);
  }
}

// Masks of the rows [row, row + rows) and keys [key, key + keys), both multiples of 16 long and
// aligned to 16: masks[r·stride + k/16].
inline void dropout_masks(const FlashDropout& dropout, int row, int rows, int key, int keys,
                          uint16_t* masks, int64_t stride) {
  for (int r = 0; r < rows; r += kDropoutBlock) {
    for (int k = 0; k < keys; k += kDropoutBlock) {
      dropout_block(dropout, static_cast<uint32_t>(row + r) / 16, static_cast<uint32_t>(key + k) / 16,
                    masks + r * stride + k / kDropoutBlock, stride);
    }
  }
}

}  // namespace strobe::STROBE_ISA
