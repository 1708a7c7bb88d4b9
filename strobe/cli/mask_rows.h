#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/json.h"
#include "strobe/ops/attention/attention.h"

namespace strobe {

// One attention call's shape and its masks: what `strobe masks` compares on the same Q, K, V.
struct MaskExperiment {
  int64_t batch = 2, seq_q = 128, seq_k = 128, heads = 12, kv_heads = 12, head_dim = 64;
  DType dtype = DType::f32;
  uint64_t seed = 1;
  std::optional<std::pair<int64_t, int64_t>> window;  // left, right: one more mask
  std::vector<int64_t> key_lengths;  // of each sequence: one more, causal with padded keys; or none
  bool is_left_padded = false;       // padding comes before the keys, not after them
};

// Rows of kind "mask" and "mask_pattern" (docs/results.md): full attention first, the baseline of
// the differences, then causal, window and padding.
std::vector<Json> mask_rows(Context& ctx, const MaskExperiment& experiment);

}  // namespace strobe
