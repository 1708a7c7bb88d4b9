#include "strobe/ops/attention/impls.h"

namespace strobe {

std::span<const AttentionImpl> attention_impls_cpu() { return {}; }

}  // namespace strobe
