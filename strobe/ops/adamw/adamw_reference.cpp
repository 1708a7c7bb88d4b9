#include "strobe/ops/adamw/adamw_reference.h"

#include <cmath>

namespace strobe {

void adamw_reference(const AdamWReference& args, std::span<const double> gradient,
                     std::span<double> master, std::span<double> m, std::span<double> v) {
  const auto step = static_cast<double>(args.step);
  for (size_t i = 0; i < master.size(); ++i) {
    const double g = args.gradient_scale * gradient[i];
    m[i] = args.beta1 * m[i] + (1 - args.beta1) * g;
    v[i] = args.beta2 * v[i] + (1 - args.beta2) * g * g;
    const double m_hat = m[i] / (1 - std::pow(args.beta1, step));
    const double v_hat = v[i] / (1 - std::pow(args.beta2, step));
    master[i] -= args.learning_rate * args.weight_decay * master[i];
    master[i] -= args.learning_rate * m_hat / (std::sqrt(v_hat) + args.epsilon);
  }
}

}  // namespace strobe
