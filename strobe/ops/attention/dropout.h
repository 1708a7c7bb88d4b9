#pragma once

#include <cstdint>

#include "strobe/core/random.h"

namespace strobe {

// Attention's dropout is a function of (key, batch·heads + head, query, key position) alone, so
// every implementation, tile size, pass and device drops the same elements. Queries and keys count
// from the start of their sequence.
//
// Scores are cut into 16×16 blocks; block (Q16, K16) = (query/16, key/16). In a block, the counter
// 4a + b (a, b in 0…3) owns the rows {2a, 2a+1, 2a+8, 2a+9} × columns {2b, 2b+1, 2b+8, 2b+9}: 16
// elements, the 16 bytes of one Philox4x32-7 call. Element (q, k) is in
//     word  2·((q ⊕ K16) mod 2) + ((k ⊕ Q16) mod 2),   byte  2·(q/8 mod 2) + (k/8 mod 2)
// of counter 4·(q/2 mod 4) + (k/2 mod 4). The layout is chosen for Hopper's matrix fragments: in
// S = QKᵀ (forward) and in Sᵀ (backward) a lane's eight elements of a block lie in one counter that
// it shares with the lane 4 away, so two lanes compute one counter each for two neighbouring blocks
// and exchange two words, and no random bit is made twice.
struct DropoutPosition {
  PhiloxWords counter;
  int word, byte;
};

STROBE_HD constexpr DropoutPosition dropout_position(uint32_t head, uint32_t query, uint32_t key) {
  const uint32_t q16 = query / 16, k16 = key / 16;
  return {.counter = {{q16, k16, 4 * (query / 2 % 4) + key / 2 % 4, head}},
          .word = static_cast<int>(2 * ((query ^ k16) % 2) + (key ^ q16) % 2),
          .byte = static_cast<int>(2 * (query / 8 % 2) + key / 8 % 2)};
}

// Whether element (query, key) of head `head` (= batch index · heads + head index) survives. The
// definition; kernels compute the 16 counters of a block together.
STROBE_HD constexpr bool dropout_keeps(const Dropout& dropout, uint32_t head, uint32_t query,
                                       uint32_t key) {
  const DropoutPosition position = dropout_position(head, query, key);
  const PhiloxWords words = philox<kPhiloxAttentionRounds>(position.counter, dropout.current_key());
  return (words.word[position.word] >> (8 * position.byte) & 0xffu) >= dropout.threshold;
}

}  // namespace strobe
