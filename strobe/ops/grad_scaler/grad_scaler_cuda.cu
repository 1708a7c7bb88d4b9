// The CUDA implementation of the gradient scaler: one thread.
#include "strobe/gpu/launch.h"
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "strobe/ops/grad_scaler/grad_scaler_update.h"

namespace strobe {
namespace {

__global__ void update_grad_scaler_kernel(GradScalerUpdate update) { update.run(); }

std::string why_not(DType, const Device& device) { return why_not_cuda(device); }

void run(Context& ctx, const GradScaler& args) {
  launch(ctx, update_grad_scaler_kernel, {}, GradScalerUpdate::of(args));
}

}  // namespace

std::span<const GradScalerImpl> grad_scaler_impls_cuda() {
  static constexpr GradScalerImpl kRows[] = {{"cuda", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
