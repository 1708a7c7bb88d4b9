#pragma once

#include <cmath>

#include "strobe/core/host_device.h"
#include "strobe/ops/adamw/adamw_kernels.h"

namespace strobe {

// What a step's constants are made of.
struct AdamWRates {
  double learning_rate, gradient_scale, step;
  double beta1, beta2, epsilon, weight_decay;
};

STROBE_HD inline AdamWConstants constants_of(const AdamWRates& rates, bool decays) {
  const double correction1 = 1 - std::pow(rates.beta1, rates.step);
  const double correction2 = 1 - std::pow(rates.beta2, rates.step);
  const double decay = decays ? 1 - rates.learning_rate * rates.weight_decay : 1.0;
  return {
      .gradient_scale = static_cast<float>(rates.gradient_scale),
      .beta1 = static_cast<float>(rates.beta1),
      .one_minus_beta1 = static_cast<float>(1 - rates.beta1),
      .beta2 = static_cast<float>(rates.beta2),
      .one_minus_beta2 = static_cast<float>(1 - rates.beta2),
      .decay = static_cast<float>(decay),
      .step_size = static_cast<float>(rates.learning_rate / correction1),
      .inverse_sqrt_correction = static_cast<float>(1 / std::sqrt(correction2)),
      .epsilon = static_cast<float>(rates.epsilon),
  };
}

}  // namespace strobe
