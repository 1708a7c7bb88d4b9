// The CPU implementation of sample: row by row.
#include <algorithm>
#include <cmath>
#include <vector>

#include "strobe/ops/sample/sample.h"
#include "strobe/ops/sample/sample_share.h"

namespace strobe {
namespace {

struct Candidate {
  float logit;
  int32_t id;
};

// A total order: the more probable one, then the smaller id.
bool comes_first(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The largest logit's index, the first of several; −1 where it is not finite, or one is NaN. Four
// independent chains: one would wait for each comparison, which for GPT-2's vocabulary took as long
// as a block's matrix products.
template <class T>
int32_t most_probable(std::span<const T> logits) {
  constexpr size_t kChains = 4;
  float largest[kChains];
  bool is_nan[kChains] = {};
  std::fill_n(largest, kChains, to_f32(logits[0]));
  const auto look_at = [&](size_t chain, float logit) {
    largest[chain] = logit > largest[chain] ? logit : largest[chain];
    is_nan[chain] |= std::isnan(logit);
  };
  size_t i = 0;
  for (; i + kChains <= logits.size(); i += kChains) {
    for (size_t chain = 0; chain < kChains; ++chain) look_at(chain, to_f32(logits[i + chain]));
  }
  for (; i < logits.size(); ++i) look_at(0, to_f32(logits[i]));
  const float best = *std::max_element(largest, largest + kChains);
  if (std::ranges::count(is_nan, true) != 0 || !std::isfinite(best)) return -1;
  const auto found = std::ranges::find_if(logits, [&](T x) { return to_f32(x) == best; });
  return static_cast<int32_t>(found - logits.begin());
}

// Draws the tokens of one row after the other.
template <class T>
class Drawing {
 public:
  explicit Drawing(const SamplerOptions& options)
      : options_(options),
        temperature_(share_temperature(options.temperature)),
        key_(random_key(options.seed, 0, kSiteSample)) {}

  int32_t draw(std::span<const T> logits, int64_t index) {
    const int32_t best = most_probable(logits);
    if (best < 0 || options_.temperature == 0 || options_.top_k == 1) return best;
    largest_ = to_f32(logits[best]);
    const Candidate last = last_candidate(logits);
    const auto share_at = [&](size_t id) {
      const Candidate c = {to_f32(logits[id]), static_cast<int32_t>(id)};
      return comes_first(last, c) ? 0 : share(c);
    };
    uint64_t total = 0;
    for (size_t id = 0; id < logits.size(); ++id) total += share_at(id);
    uint64_t left = drawn_share(key_, index, total);
    size_t id = 0;
    for (uint64_t here = share_at(0); left >= here; here = share_at(++id)) left -= here;
    return static_cast<int32_t>(id);
  }

 private:
  uint64_t share(const Candidate& c) const { return share_of(c.logit, largest_, temperature_); }

  // The last one, in the order of comes_first(), that is not cut off.
  Candidate last_candidate(std::span<const T> logits) {
    const auto vocab = static_cast<int64_t>(logits.size());
    const bool cuts_at_k = options_.top_k > 0 && options_.top_k < vocab;
    if (!cuts_at_k && options_.top_p == 1) {
      return {-INFINITY, static_cast<int32_t>(vocab)};
    }
    candidates_.clear();
    for (int32_t id = 0; id < vocab; ++id) candidates_.push_back({to_f32(logits[id]), id});
    if (cuts_at_k) {
      const auto last = candidates_.begin() + options_.top_k - 1;
      std::nth_element(candidates_.begin(), last, candidates_.end(), comes_first);
      candidates_.resize(options_.top_k);
      if (options_.top_p == 1) return candidates_.back();
    }
    uint64_t total = 0;
    for (const Candidate& c : candidates_) total += share(c);
    const uint64_t to_keep = shares_to_keep(options_.top_p, total);
    // A heap gives the most probable ones, one after the other, without sorting the rest.
    const auto comes_last = [](const Candidate& a, const Candidate& b) {
      return comes_first(b, a);
    };
    std::make_heap(candidates_.begin(), candidates_.end(), comes_last);
    auto end = candidates_.end();
    uint64_t kept = 0;
    do {
      std::pop_heap(candidates_.begin(), end--, comes_last);
      kept += share(*end);
    } while (kept < to_keep);
    return *end;
  }

  const SamplerOptions& options_;
  const float temperature_;
  const PhiloxKey key_;
  float largest_ = 0;
  std::vector<Candidate> candidates_;
};

void run(Context&, const Sample& args) {
  with_float_type(args.logits.dtype, [&](auto type) {
    using T = decltype(type);
    Drawing<T> drawing(args.options);
    const int64_t vocab = args.logits.shape[1];
    for (int64_t b = 0; b < args.logits.shape[0]; ++b) {
      const std::span row(args.logits.as<T>() + b * vocab, vocab);
      args.tokens.as<int32_t>()[b] = drawing.draw(row, args.indices.as<int32_t>()[b]++);
    }
  });
}

std::string why_not(DType, const Device& device) { return why_not_isa(Isa::scalar, device); }

}  // namespace

std::span<const SampleImpl> sample_impls_cpu() {
  static constexpr SampleImpl kRows[] = {{"cpu", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
