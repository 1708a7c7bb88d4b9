#pragma once

#include <cmath>
#include <cstdint>

#include "strobe/core/host_device.h"
#include "strobe/ops/grad_scaler/grad_scaler.h"

namespace strobe {

// The tensors of a GradScaler as addresses, and its constants.
struct GradScalerUpdate {
  const float* norm;
  float* loss_scale;
  int32_t *finite_steps, *steps_taken, *steps_skipped;
  float *unscaled_norm, *gradient_scale;
  int32_t* is_skipped;
  float max_norm, growth_factor, backoff_factor;
  int growth_interval;

  static GradScalerUpdate of(const GradScaler& args) {
    return {.norm = args.norm.as<float>(),
            .loss_scale = args.state.loss_scale.as<float>(),
            .finite_steps = args.state.finite_steps.as<int32_t>(),
            .steps_taken = args.state.steps_taken.as<int32_t>(),
            .steps_skipped = args.state.steps_skipped.as<int32_t>(),
            .unscaled_norm = args.unscaled_norm.as<float>(),
            .gradient_scale = args.gradient_scale.as<float>(),
            .is_skipped = args.is_skipped.as<int32_t>(),
            .max_norm = args.max_norm,
            .growth_factor = args.growth_factor,
            .backoff_factor = args.backoff_factor,
            .growth_interval = args.growth_interval};
  }

  // All of the op: it is the same few numbers on every device.
  STROBE_HD void run() const {
    const double scale = *loss_scale, unscaled = *norm / scale;
    const bool is_finite = std::isfinite(*norm);
    const double clip = max_norm == 0 ? 1.0 : max_norm / (unscaled + 1e-6);
    *unscaled_norm = static_cast<float>(unscaled);
    *gradient_scale = is_finite ? static_cast<float>((clip < 1 ? clip : 1.0) / scale) : 0.0f;
    *is_skipped = is_finite ? 0 : 1;
    *(is_finite ? steps_taken : steps_skipped) += 1;
    if (growth_interval == 0) return;
    *finite_steps = is_finite ? *finite_steps + 1 : 0;
    if (!is_finite) {
      *loss_scale *= backoff_factor;
    } else if (*finite_steps >= growth_interval) {
      const float grown = *loss_scale * growth_factor;
      if (std::isfinite(grown)) *loss_scale = grown;
      *finite_steps = 0;
    }
  }
};

}  // namespace strobe
