#include "strobe/ops/sample/sample_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/core/random.h"

namespace strobe {

std::vector<double> sample_shares(const std::vector<double>& logits,
                                  const SamplerOptions& options) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> shares(logits.size());
  if (options.temperature == 0) {
    shares[order[0]] = 1;
    return shares;
  }
  if (options.top_k > 0) order.resize(std::min<size_t>(order.size(), options.top_k));
  const auto weight = [&](size_t id) {
    return std::exp((logits[id] - logits[order[0]]) / options.temperature);
  };
  double total = 0, kept = 0;
  for (const size_t id : order) total += weight(id);
  for (const size_t id : order) {
    if (options.top_p < 1 && kept >= options.top_p * total) break;
    shares[id] = weight(id);
    kept += shares[id];
  }
  for (double& share : shares) share /= kept;
  return shares;
}

double sample_pointer(uint64_t seed, int64_t index) {
  const auto [word] =
      philox({{static_cast<uint32_t>(index), 0, 0, 0}}, random_key(seed, 0, kSiteSample));
  return std::ldexp(static_cast<double>(word[0]), -32) +
         std::ldexp(static_cast<double>(word[1] >> 11), -53);
}

}  // namespace strobe
