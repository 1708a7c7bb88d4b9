#pragma once

#include <string>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/json.h"
#include "strobe/ops/attention/attention.h"

namespace strobe {

// One problem that `strobe bench attention` times: self-attention of random tensors.
struct AttentionCase {
  int64_t batch = 1;
  int64_t heads = 12;
  int64_t kv_heads = 12;
  int64_t seq_q = 1024;
  int64_t seq_k = 1024;
  int64_t head_dim = 64;
  DType dtype = DType::f32;
  Mask mask = causal();
  double dropout = 0;
};

Json to_json(const AttentionCase& problem);

// FLOP of a forward pass: 4·B·H·Tq·Tk·D, half of it when causal, for a window those of the pairs
// that are visible. A backward pass counts 2.5 times as much.
double forward_flop(const AttentionCase& problem);

// The tensors of a case, filled with normal values, in the arena until the caller's Scope ends.
struct AttentionTensors {
  AttentionForward forward;
  AttentionBackward backward;
};
AttentionTensors make_tensors(Context& ctx, const AttentionCase& problem);

// The largest errors of the implementation that the context prefers, each as a share of the largest
// value of the float64 reference: of out, and of dq, dk and dv. Where the reference would take too
// long, of a smaller problem of the same kind.
struct AttentionErrors {
  double forward = 0, backward = 0;
};
AttentionErrors measure_errors(Context& ctx, const AttentionCase& problem);

// The cases of a preset; throws UsageError, listing the presets, for an unknown one.
std::vector<AttentionCase> attention_preset(const std::string& name);

}  // namespace strobe
