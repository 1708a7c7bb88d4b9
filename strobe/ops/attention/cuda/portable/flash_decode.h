#pragma once

#include <cstdint>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// cuda_flash_portable's decode pass: what its row of the table calls. Any head_dim that attention
// takes; the types of q and cache that attention_decode allows. Rows of 16-byte aligned addresses,
// otherwise it throws Error.
int64_t flash_decode_workspace_bytes(const AttentionProblem& problem);
void flash_decode(Context& ctx, const AttentionDecode& args);

}  // namespace strobe
