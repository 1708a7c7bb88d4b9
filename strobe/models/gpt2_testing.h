#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "strobe/models/gpt2.h"
#include "strobe/ops/adamw/adamw.h"

namespace strobe::testing {

// A batch that owns its memory. Positions outside [begin, end) of a sequence are padding; either
// may be empty: no padding on that side.
struct TestBatch {
  int64_t batch = 0, time = 0;
  std::vector<int32_t> tokens, labels;
  std::vector<int32_t> begin, end;

  Gpt2Batch view();
};

// Random tokens, which are the labels too.
TestBatch random_batch(const Gpt2Config& config, int64_t batch, int64_t time, uint64_t seed);

// Parameters by name, and their gradients.
using NamedValues = std::map<std::string, std::vector<double>>;
NamedValues values_of(Gpt2& model);
NamedValues gradients_of(Gpt2& model);

// Draws every parameter anew, large enough that each gradient matters: normal(0, 0.2), the scales
// of layernorms around 1.
void randomize(Context& ctx, Gpt2& model, uint64_t seed);

// AdamW on all parameters of a model, without clipping, at one learning rate.
class Optimizer {
 public:
  Optimizer(Context& ctx, Gpt2& model, double learning_rate);
  void step();

 private:
  Context& ctx_;
  std::vector<AdamWParameter> parameters_;
  AdamWStep step_;
  int64_t steps_ = 0;
};

}  // namespace strobe::testing
