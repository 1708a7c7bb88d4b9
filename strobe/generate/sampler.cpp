#include "strobe/generate/sampler.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/check.h"
#include "strobe/core/random.h"

namespace strobe {
namespace {

// Uniform in [0, 1), 53 bits.
double uniform_of(uint64_t seed, int64_t index) {
  const auto counter = static_cast<uint64_t>(index);
  const auto [word] =
      philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}},
             random_key(seed, 0, kSiteSample));
  return static_cast<double>((static_cast<uint64_t>(word[0]) << 32 | word[1]) >> 11) * 0x1p-53;
}

// The largest logit's index, the first of several. Four independent chains: one would wait for each
// comparison, which for GPT-2's vocabulary took as long as a block's matrix products.
int32_t most_probable(std::span<const float> logits) {
  constexpr size_t kChains = 4;
  float largest[kChains];
  bool is_nan[kChains] = {};
  std::fill_n(largest, kChains, logits[0]);
  const auto look_at = [&](size_t chain, float logit) {
    largest[chain] = logit > largest[chain] ? logit : largest[chain];
    is_nan[chain] |= std::isnan(logit);
  };
  size_t i = 0;
  for (; i + kChains <= logits.size(); i += kChains) {
    for (size_t chain = 0; chain < kChains; ++chain) look_at(chain, logits[i + chain]);
  }
  for (; i < logits.size(); ++i) look_at(0, logits[i]);
  const float best = *std::max_element(largest, largest + kChains);
  check(std::ranges::count(is_nan, true) == 0 && std::isfinite(best),
        "the model's logits are not finite numbers");
  return static_cast<int32_t>(std::ranges::find(logits, best) - logits.begin());
}

}  // namespace

void validate(const SamplerOptions& options) {
  check(options.temperature >= 0 && std::isfinite(options.temperature), "temperature is ",
        options.temperature, ", allowed is 0 or more");
  check(options.top_k >= 0, "top_k is ", options.top_k, ", allowed is 0 or more");
  check(options.top_p > 0 && options.top_p <= 1, "top_p is ", options.top_p,
        ", allowed is more than 0 and up to 1");
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) { validate(options); }

int32_t Sampler::draw(std::span<const float> logits, int64_t index) {
  check(!logits.empty(), "there are no logits to draw a token from");
  const int32_t best = most_probable(logits);
  if (options_.temperature == 0 || options_.top_k == 1) return best;

  candidates_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    candidates_.push_back({logits[id], static_cast<int32_t>(id)});
  }
  // A total order, so that what is drawn does not depend on how it was sorted.
  const auto comes_first = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(candidates_.size())) {
    std::partial_sort(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(),
                      comes_first);
    candidates_.resize(options_.top_k);
  }
  const double largest = logits[best];
  double total = 0;
  for (Candidate& c : candidates_) {
    c.weight = std::exp(static_cast<float>((c.weight - largest) / options_.temperature));
    total += c.weight;
  }

  auto first = candidates_.begin();
  if (options_.top_p < 1) {
    // A heap gives the most probable ones, one after the other, without sorting the rest.
    const auto comes_last = [&](const Candidate& a, const Candidate& b) {
      return comes_first(b, a);
    };
    std::make_heap(candidates_.begin(), candidates_.end(), comes_last);
    first = candidates_.end();
    double kept = 0;
    while (first != candidates_.begin() && kept < options_.top_p * total) {
      std::pop_heap(candidates_.begin(), first--, comes_last);
      kept += first->weight;
    }
    total = kept;
  }
  double left = uniform_of(options_.seed, index) * total;
  for (auto c = first; c != candidates_.end(); ++c) {
    left -= c->weight;
    if (left < 0) return c->id;
  }
  return best;  // rounding left a little over
}

}  // namespace strobe
