#include "strobe/ops/grad_scaler/grad_scaler_reference.h"

#include <algorithm>
#include <cmath>

namespace strobe {

void GradScalerReference::update(double norm) {
  unscaled_norm = norm / loss_scale;
  is_skipped = std::isinf(norm) || std::isnan(norm);
  if (is_skipped) {
    gradient_scale = 0;
    ++steps_skipped;
    finite_steps = 0;
    if (growth_interval > 0) loss_scale *= backoff_factor;
    return;
  }
  gradient_scale = 1 / loss_scale;
  if (max_norm > 0) gradient_scale *= std::min(1.0, max_norm / (unscaled_norm + 1e-6));
  ++steps_taken;
  if (growth_interval == 0) return;
  if (++finite_steps < growth_interval) return;
  finite_steps = 0;
  if (loss_scale * growth_factor < 0x1p128) loss_scale *= growth_factor;
}

}  // namespace strobe
