// The CUDA implementation of layernorm.
#include "strobe/ops/layernorm/layernorm.h"

namespace strobe {

std::span<const LayernormImpl> layernorm_impls_cuda() { return {}; }

}  // namespace strobe
