#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace strobe {

struct SamplerOptions {
  double temperature = 0;  // 0: always the most probable token, the first of several
  int64_t top_k = 0;       // draw among so many, the most probable ones; 0: among all
  double top_p = 1;  // … and among the fewest that have this share of the probability together
  uint64_t seed = 1;
};

// Throws Error, with the value and what is allowed, unless temperature ≥ 0, top_k ≥ 0 and top_p is
// in (0, 1].
void validate(const SamplerOptions& options);

// Draws tokens from logits: softmax(logits / temperature), cut off at top_k, then at top_p, as
// Hugging Face does it.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  // The token number `index` of a sequence. Randomness is a function of seed and index alone, so
  // that a sequence's tokens do not depend on the batch it is in.
  int32_t draw(std::span<const float> logits, int64_t index);

 private:
  struct Candidate {
    float weight;  // the logit at first, then the probability up to a factor
    int32_t id;
  };

  SamplerOptions options_;
  std::vector<Candidate> candidates_;
};

}  // namespace strobe
