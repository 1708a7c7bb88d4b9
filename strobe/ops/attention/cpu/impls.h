#pragma once

#include <span>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// The rows of one algorithm, one for each instruction set, best first.
std::span<const AttentionImpl> attention_impls_cpu_flash();
std::span<const AttentionImpl> attention_impls_cpu_standard();

}  // namespace strobe
