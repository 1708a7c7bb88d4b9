#pragma once

#include <cstdint>

#include "strobe/core/random.h"

namespace strobe {

// Dropout of the elements of a tensor (all but attention's, which goes by query and key): element
// e, counted row-major from 0, falls where byte e mod 16 (little-endian, words in order) of
// philox({e/16 low, e/16 high, 0, 0}, key), 10 rounds, is below the threshold. So 16 elements in a
// row share one counter. Kernels decide whole vectors; this is the definition, one by one.
STROBE_HD constexpr bool dropout_keeps_element(uint32_t threshold, PhiloxKey key, int64_t element) {
  const auto counter = static_cast<uint64_t>(element) / 16;
  const auto byte = static_cast<uint32_t>(element % 16);
  const PhiloxWords bits =
      philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, key);
  return (bits.word[byte / 4] >> (8 * (byte % 4)) & 0xff) >= threshold;
}

}  // namespace strobe
