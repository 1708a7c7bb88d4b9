// Dropout masks of blocks of 16 × 16 scores (strobe/ops/attention/dropout.h has the definition).
#pragma once

#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/simd/philox.h"

namespace strobe::STROBE_ISA {

constexpr int kDropoutBlock = 16;

#if defined(__AVX2__)
// A 128-bit quarter of a word vector holds the counters 4a … 4a + 3, those of the rows {2a, 2a + 1}
// + {0, 8}. Brought into the order of the keys, one comparison decides a row for every quarter:
// byte 8i + 4j + b of `order` is byte 2i + j of counter b, and interleaving the words of even and
// of odd keys gives the rows of byte pair i = 0 (low) and 1 (high) with keys 8j + 2b + {0, 1}.
struct RowBits {
  uint64_t low, high;  // 16 bits for each quarter
};
STROBE_INLINE RowBits row_bits(U32 even_keys, U32 odd_keys, uint32_t threshold) {
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#if defined(__AVX512F__)
  const __m512i orders = _mm512_broadcast_i32x4(order);
  const __m512i least = _mm512_set1_epi8(static_cast<char>(threshold));
  const __m512i even = _mm512_shuffle_epi8(bit_cast_to<__m512i>(even_keys), orders);
  const __m512i odd = _mm512_shuffle_epi8(bit_cast_to<__m512i>(odd_keys), orders);
  return {_mm512_cmpge_epu8_mask(_mm512_unpacklo_epi8(even, odd), least),
          _mm512_cmpge_epu8_mask(_mm512_unpackhi_epi8(even, odd), least)};
#else
  const __m256i orders = _mm256_broadcastsi128_si256(order);
  const __m256i least = _mm256_set1_epi8(static_cast<char>(threshold));
  const __m256i even = _mm256_shuffle_epi8(bit_cast_to<__m256i>(even_keys), orders);
  const __m256i odd = _mm256_shuffle_epi8(bit_cast_to<__m256i>(odd_keys), orders);
  const auto keeps = [&](__m256i bytes) {
    return static_cast<uint32_t>(
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(bytes, least), bytes)));
  };
  return {keeps(_mm256_unpacklo_epi8(even, odd)), keeps(_mm256_unpackhi_epi8(even, odd))};
#endif
}
#endif

// masks[r·stride] for r < 16: bit k is set where element (r, k) of the block survives.
STROBE_INLINE void dropout_block(const FlashDropout& dropout, uint32_t row_block,
                                 uint32_t key_block, uint16_t* masks, int64_t stride) {
  [[maybe_unused]] uint32_t words[4][16];
  for (int first = 0; first < 16; first += kLanes) {
    const PhiloxLanes random =
        philox<7>({{broadcast_u32(row_block), broadcast_u32(key_block),
                    bit_cast_to<U32>(lane_index() + first), broadcast_u32(dropout.head)}},
                  dropout.key[0], dropout.key[1]);
#if defined(__AVX2__)
    for (uint32_t parity = 0; parity < 2; ++parity) {  // of word / 2: of row ⊕ key_block
      RowBits bits = row_bits(random.word[2 * parity + row_block % 2],
                              random.word[2 * parity + 1 - row_block % 2], dropout.threshold);
      uint16_t* row = masks + (first / 2 + (parity ^ key_block % 2)) * stride;
      for (int quarter = 0; quarter < kLanes / 4; ++quarter, row += 2 * stride) {
        row[0] = static_cast<uint16_t>(bits.low >> (16 * quarter));
        row[8 * stride] = static_cast<uint16_t>(bits.high >> (16 * quarter));
      }
    }
  }
#else
    for (int w = 0; w < 4; ++w) std::memcpy(&words[w][first], &random.word[w], sizeof(U32));
  }
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
#endif
}

// Masks of the rows [row, row + rows) and keys [key, key + keys), both multiples of 16 long and
// aligned to 16: masks[r·stride + k/16].
inline void dropout_masks(const FlashDropout& dropout, int row, int rows, int key, int keys,
                          uint16_t* masks, int64_t stride) {
  for (int r = 0; r < rows; r += kDropoutBlock) {
    for (int k = 0; k < keys; k += kDropoutBlock) {
      dropout_block(dropout, static_cast<uint32_t>(row + r) / 16,
                    static_cast<uint32_t>(key + k) / 16, masks + r * stride + k / kDropoutBlock,
                    stride);
    }
  }
}

}  // namespace strobe::STROBE_ISA
