#pragma once

#include <span>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// The rows of one device, best first. Without CUDA, cuda/impls_absent.cpp gives an empty span.
std::span<const AttentionImpl> attention_impls_cpu();
std::span<const AttentionImpl> attention_impls_cuda();

}  // namespace strobe
