#include <algorithm>
#include <cmath>

#include "strobe/cli/bench_attention.h"
#include "strobe/ops/attention/attention_reference.h"

namespace strobe {
namespace {

constexpr double kMostReferenceFlop = 1e8;  // forward: a fraction of a second
constexpr int64_t kSmallSeq = 320;          // several tiles of any kernel, and a part of one

// The same, or a smaller problem of the same kind.
AttentionCase checkable(AttentionCase c) {
  if (forward_flop(c) <= kMostReferenceFlop) return c;
  c.heads /= c.kv_heads;
  c.kv_heads = 1;
  c.batch = 1;
  c.seq_q = std::min(c.seq_q, kSmallSeq);
  c.seq_k = std::min(c.seq_k, kSmallSeq);
  return c;
}

// Entry `index` of a batch.
std::vector<double> sequence_of(const Tensor& batch, int64_t index) {
  const Tensor sequence = batch.slice(0, index, index + 1);
  std::vector<double> values(static_cast<size_t>(sequence.numel()));
  with_float_type(batch.dtype, [&](auto type) {
    const auto* data = sequence.as<decltype(type)>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_f32(data[i]);
  });
  return values;
}

AttentionReferenceCase reference_case(const AttentionCase& c, const AttentionBackward& args,
                                      int64_t index) {
  return {.seq_q = c.seq_q,
          .seq_k = c.seq_k,
          .heads_q = c.heads,
          .heads_kv = c.kv_heads,
          .head_dim = c.head_dim,
          .scale = args.scale,
          .is_causal = c.mask.kind == MaskKind::causal,
          .is_window = c.mask.kind == MaskKind::window,
          .left = c.mask.left,
          .right = c.mask.right,
          .sequence = index,
          .dropout_threshold = args.dropout.threshold,
          .dropout_key = {args.dropout.key.word[0], args.dropout.key.word[1]},
          .q = sequence_of(args.q, index),
          .dout = sequence_of(args.dout, index),
          .k = sequence_of(args.k, index),
          .v = sequence_of(args.v, index),
          .bias = {}};
}

// The largest error as a share of the largest value; NaN when there is one.
double relative_error(const std::vector<double>& actual, const std::vector<double>& reference) {
  double error = 0, largest = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(actual[i] - reference[i]);
    if (std::isnan(difference)) return difference;
    error = std::max(error, difference);
    largest = std::max(largest, std::abs(reference[i]));
  }
  return largest > 0 ? error / largest : error;
}

// Keeps the larger one; NaN stays.
void raise(double& worst, double error) {
  if (!(error <= worst) && !std::isnan(worst)) worst = error;
}

}  // namespace

AttentionErrors measure_errors(Context& ctx, const AttentionCase& problem) {
  const AttentionCase c = checkable(problem);
  const Arena::Scope scope(ctx.arena());
  const AttentionTensors tensors = make_tensors(ctx, c);
  attention_forward(ctx, tensors.forward);
  attention_backward(ctx, tensors.backward);
  AttentionErrors errors;
  for (int64_t b = 0; b < c.batch; ++b) {
    const AttentionReferenceResult exact =
        attention_reference(reference_case(c, tensors.backward, b));
    raise(errors.forward, relative_error(sequence_of(tensors.forward.out, b), exact.out));
    raise(errors.backward, relative_error(sequence_of(tensors.backward.dq, b), exact.dq));
    raise(errors.backward, relative_error(sequence_of(tensors.backward.dk, b), exact.dk));
    raise(errors.backward, relative_error(sequence_of(tensors.backward.dv, b), exact.dv));
  }
  return errors;
}

}  // namespace strobe
