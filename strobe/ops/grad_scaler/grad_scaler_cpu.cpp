// The CPU implementation of the gradient scaler.
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "strobe/ops/grad_scaler/grad_scaler_update.h"

namespace strobe {
namespace {

std::string why_not(DType, const Device& device) { return why_not_isa(Isa::scalar, device); }

void run(Context&, const GradScaler& args) { GradScalerUpdate::of(args).run(); }

}  // namespace

std::span<const GradScalerImpl> grad_scaler_impls_cpu() {
  static constexpr GradScalerImpl kRows[] = {{"cpu", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
