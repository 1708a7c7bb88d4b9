#include "strobe/core/random.h"

#include <cmath>
#include <numbers>

#include "strobe/core/check.h"

namespace strobe {

Dropout Dropout::with(double p, PhiloxKey key) {
  check(p >= 0 && p < 1, "dropout is ", p, ", allowed is [0, 1)");
  const auto threshold = static_cast<uint32_t>(std::lround(p * 256));
  check(p == 0 || (threshold > 0 && threshold < 256), "dropout ", p, " rounds to ",
        threshold / 256.0, "; it is applied in steps of 1/256, from 1/256 to 255/256");
  return {.threshold = threshold, .key = key};
}

uint32_t Random::next_u32() {
  if (used_ == 4) {
    words_ = philox(
        {{static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32), 0, 0}}, key_);
    ++counter_;
    used_ = 0;
  }
  return words_.word[used_++];
}

uint64_t Random::below(uint64_t n) {
  const uint64_t bits = static_cast<uint64_t>(next_u32()) << 32 | next_u32();
  return static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * n >> 64);
}

double Random::uniform() {
  const uint64_t bits = static_cast<uint64_t>(next_u32()) << 32 | next_u32();
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

}  // namespace strobe
