#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "strobe/core/host_device.h"
#include "strobe/core/random.h"

// What a token's share is and which share is drawn, alike on every device.
namespace strobe {

// Shares are whole numbers, so that their sums are exact in any order: 2⁴⁰ of them is what the most
// probable token has. A vocabulary of 2²³ tokens still fits.
constexpr float kLargestShare = 0x1p40f;

// How sharply shares fall off; never 0, so that 0/0 does not appear.
inline float share_temperature(double temperature) {
  return static_cast<float>(temperature < FLT_MIN ? FLT_MIN : temperature);
}

STROBE_HD inline uint64_t share_of(float logit, float largest, float temperature) {
  return static_cast<uint64_t>(expf((logit - largest) / temperature) * kLargestShare);
}

// The shares that top_p keeps, at least, of `total`.
STROBE_HD inline uint64_t shares_to_keep(double top_p, uint64_t total) {
  return static_cast<uint64_t>(ceil(top_p * static_cast<double>(total)));
}

// Uniform in [0, total): the number of the share that is drawn, counted in the order of ids.
STROBE_HD inline uint64_t drawn_share(PhiloxKey key, int64_t index, uint64_t total) {
  const auto counter = static_cast<uint64_t>(index);
  const PhiloxWords words =
      philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, key);
  const uint64_t bits = (static_cast<uint64_t>(words.word[0]) << 32 | words.word[1]) >> 11;
  const double uniform = static_cast<double>(bits) * 0x1p-53;
  const auto share = static_cast<uint64_t>(uniform * static_cast<double>(total));
  return share < total ? share : total - 1;
}

}  // namespace strobe
