#pragma once

#include "strobe/models/gpt2_testing.h"

namespace strobe::testing {

// GPT-2 once more, for tests: the forward pass in double, made of the ops' definitions, sharing no
// code with the model but its configuration. The loss of one batch as a function of the parameters,
// to be differentiated by finite differences.
class Gpt2Double {
 public:
  // `training` is null in evaluation: no dropout then.
  Gpt2Double(const Gpt2Config& config, const TestBatch& batch, const Gpt2TrainingPass* training)
      : config_(config), batch_(batch), training_(training) {}

  double loss(const NamedValues& parameters) const;

 private:
  using Values = std::vector<double>;

  Dropout dropout(double p, uint32_t number) const;
  Values attention(const Values& qkv, const Dropout& dropout) const;
  Values block(const Values& x, const NamedValues& parameters, uint32_t index) const;

  Gpt2Config config_;
  TestBatch batch_;
  const Gpt2TrainingPass* training_;
};

}  // namespace strobe::testing
