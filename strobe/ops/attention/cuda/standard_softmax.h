#pragma once

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/standard_params.h"

namespace strobe {

constexpr unsigned blocks_for(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

// The kernels between cuda_standard's products, of f32, f16 and bf16; each is compiled in a file of
// its own.
template <class T>
void standard_softmax(Context& ctx, const StandardSoftmaxParams<T>& params);
template <class T>
void standard_softmax_backward(Context& ctx, const StandardGradientParams<T>& params);

}  // namespace strobe
