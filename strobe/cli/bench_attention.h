#pragma once

#include <optional>
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
  int64_t padded_keys = 0;  // at the end of each sequence
  double dropout = 0;
};

Json to_json(const AttentionCase& problem);

// FLOP of a forward pass: 4·B·H·Tq·Tk·D, half of it when causal, for a window those of the pairs
// that are visible; padded keys count like others. A backward pass counts 2.5 times as much.
double forward_flop(const AttentionCase& problem);

// The tensors of a case, filled with normal values, in the arena until the caller's Scope ends.
struct AttentionTensors {
  AttentionForward forward;
  AttentionBackward backward;
};
AttentionTensors make_tensors(Context& ctx, const AttentionCase& problem);

// How far the implementation that the context prefers is from float64, on these tensors: of out,
// and of dq, dk and dv the worst.
struct AttentionErrors {
  // The largest difference as a share of the largest value, and the root mean square of the
  // differences as a share of the values'.
  double forward_max = 0, forward_rms = 0;
  double backward_max = 0, backward_rms = 0;
  // How many queries of each head were compared. Where not all, because the reference would take
  // too long, the others' gradient of out is zero: so that all of dk and dv are compared.
  int64_t queries = 0;
};
AttentionErrors measure_errors(Context& ctx, const AttentionCase& problem);

// The cases of a preset, in `dtype` where one is given; throws UsageError, listing the presets, for
// an unknown one.
std::vector<AttentionCase> attention_preset(const std::string& name, std::optional<DType> dtype);

}  // namespace strobe
