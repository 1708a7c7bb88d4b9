#pragma once

#include <cstdint>

#include "strobe/core/host_device.h"

namespace strobe {

// Philox4x32, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC'11. The same counter and key give the same four words on every device.
struct PhiloxWords {
  uint32_t word[4];
};
struct PhiloxKey {
  uint32_t word[2];
};

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
constexpr uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u;
constexpr uint32_t kPhiloxWeyl1 = 0xBB67AE85u;

// Attention's dropout takes 7 rounds (the fewest that pass BigCrush), everything else 10.
constexpr int kPhiloxRounds = 10;
constexpr int kPhiloxAttentionRounds = 7;

template <int kRounds = kPhiloxRounds>
STROBE_HD constexpr PhiloxWords philox(PhiloxWords counter, PhiloxKey key) {
  PhiloxWords x = counter;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * x.word[0];
    const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * x.word[2];
    x = {{static_cast<uint32_t>(product1 >> 32) ^ x.word[1] ^ key.word[0],
          static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ x.word[3] ^ key.word[1],
          static_cast<uint32_t>(product0)}};
    key.word[0] += kPhiloxWeyl0;
    key.word[1] += kPhiloxWeyl1;
  }
  return x;
}

// The key of one consumer of random numbers: `seed` is the run's, `step` counts forward passes
// (micro-batches) and `site` names the place (a layer's dropout, the weights, the shuffle, …).
// Distinct (step, site) of one seed give unrelated keys, because Philox itself mixes them.
STROBE_HD constexpr PhiloxKey random_key(uint64_t seed, uint64_t step, uint32_t site) {
  const PhiloxWords mixed =
      philox({{static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), site, 0x5712BEu}},
             {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}});
  return {{mixed.word[0], mixed.word[1]}};
}

// Sites of random_key(): no two consumers of one run's seed draw the same numbers.
constexpr uint32_t kSiteWeights = 0;   // first weights; the step is the parameter's index
constexpr uint32_t kSiteShuffle = 1;   // order of the data; the step is the epoch
constexpr uint32_t kSiteSample = 2;    // tokens drawn in generation; the counter is their number
constexpr uint32_t kSiteDropout = 16;  // and on: a model numbers its dropouts from here

// Dropout decides with one byte: an element falls where its byte is below `threshold`.
// p is rounded to a multiple of 1/256, and survivors are scaled by the real keep rate.
// p = 0 means no dropout; a p that rounds to 0 or to 1, or outside [0, 1), is refused.
struct Dropout {
  uint32_t threshold = 0;  // of 256; 0: no dropout
  PhiloxKey key{};
  // Where the key lies, in memory of the device that computes; null: it is `key`. So a step that
  // was recorded once can drop other elements each time.
  const PhiloxKey* key_at = nullptr;

  static Dropout none() { return {}; }
  static Dropout with(double p, PhiloxKey key);  // throws Error

  bool active() const { return threshold != 0; }
  double probability() const { return threshold / 256.0; }
  // What a kernel takes as its key, on the device.
  STROBE_HD constexpr PhiloxKey current_key() const { return key_at == nullptr ? key : *key_at; }
  // The same on a CPU, with the key at hand.
  Dropout with_key_at_hand() const { return {.threshold = threshold, .key = current_key()}; }
  STROBE_HD float keep_scale() const { return 256.0f / (256.0f - static_cast<float>(threshold)); }
};

// Numbers one after another, from the counters 0, 1, 2, … of a key: for initialisation, shuffles
// and tests. Two generators with one key give the same sequence.
class Random {
 public:
  explicit Random(PhiloxKey key) : key_(key) {}

  uint32_t next_u32();
  uint64_t below(uint64_t n);  // uniform in [0, n), n ≥ 1, by 64-bit multiplication
  double uniform();            // in [0, 1), 53 bits
  double normal();             // mean 0, deviation 1 (Box-Muller)

 private:
  PhiloxKey key_;
  uint64_t counter_ = 0;
  PhiloxWords words_{};
  int used_ = 4;
};

}  // namespace strobe
