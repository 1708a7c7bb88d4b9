#pragma once

#include <cstdint>
#include <string>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// cuda_flash_portable's decode pass: what its row of the table calls. Any head_dim that attention
// takes; the types of q and cache that attention_decode allows. The cache's rows must begin at
// multiples of 16 bytes, otherwise it throws Error.
std::string why_not_flash_decode(const AttentionProblem& problem, const CudaInfo& info);
int64_t flash_decode_workspace_bytes(const AttentionProblem& problem);
void flash_decode(Context& ctx, const AttentionDecode& args);

}  // namespace strobe
