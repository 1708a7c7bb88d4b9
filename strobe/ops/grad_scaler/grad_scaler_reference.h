#pragma once

#include <cstdint>

namespace strobe {

// The definition of the gradient scaler (grad_scaler.h), in double.
struct GradScalerReference {
  double max_norm, growth_factor, backoff_factor;
  int64_t growth_interval;
  double loss_scale;
  int64_t finite_steps, steps_taken, steps_skipped;
  double unscaled_norm, gradient_scale;
  bool is_skipped;

  void update(double norm);
};

}  // namespace strobe
