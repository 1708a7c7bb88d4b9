#pragma once

#include <cstdint>
#include <span>

namespace strobe {

// The definition of an AdamW step (adamw.h), in double.
struct AdamWReference {
  double learning_rate, beta1, beta2, epsilon, weight_decay, gradient_scale;
  int64_t step;
};
void adamw_reference(const AdamWReference& args, std::span<const double> gradient,
                     std::span<double> master, std::span<double> m, std::span<double> v);

}  // namespace strobe
