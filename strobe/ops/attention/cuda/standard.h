#pragma once

#include "strobe/ops/attention/attention.h"

namespace strobe {

// The row "cuda_standard": scores in memory, matrix products by cuBLAS.
extern const AttentionImpl kCudaStandard;

// Its decode pass.
int64_t standard_decode_workspace_bytes(const AttentionProblem& problem);
void standard_decode(Context& ctx, const AttentionDecode& args);

}  // namespace strobe
