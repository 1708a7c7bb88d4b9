#include "strobe/ops/attention/impls.h"

namespace strobe {

std::span<const AttentionImpl> attention_impls_cuda() { return {}; }

}  // namespace strobe
