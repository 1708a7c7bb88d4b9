#include "strobe/ops/attention/cpu/impls.h"

#include "strobe/ops/attention/impls.h"

namespace strobe {

std::span<const AttentionImpl> attention_impls_cpu() { return attention_impls_cpu_flash(); }

}  // namespace strobe
