#pragma once

#include <cstdint>

#include "strobe/ops/attention/attention.h"

namespace strobe {

// One sequence of an attention call on the CPU: where it lies in the tensors, and who sees whom.
struct AttentionSequence {
  int64_t batch = 0;                 // index in the tensors' first dimension; 0 when packed
  int64_t first_q = 0, first_k = 0;  // its first row in the time dimension; 0 unless packed
  uint32_t dropout_head = 0;         // what dropout_keeps() takes as the head of query head 0
  Visibility visibility;             // positions count from the start of the sequence
};

// Sequence `index` (of problem_of(ctx, args).batch) of a call whose lengths lie in CPU memory.
template <class Args>
AttentionSequence attention_sequence(const Args& args, int64_t index) {
  AttentionSequence s;
  s.dropout_head = static_cast<uint32_t>(index * args.q.shape[2]);
  s.visibility.mask = args.mask;
  if (args.cu_seqlens_q.has_data()) {
    const int32_t* cu_q = args.cu_seqlens_q.template as<int32_t>() + index;
    const int32_t* cu_k = args.cu_seqlens_k.template as<int32_t>() + index;
    s.first_q = cu_q[0];
    s.first_k = cu_k[0];
    s.visibility.seq_q = cu_q[1] - cu_q[0];
    s.visibility.seq_k = cu_k[1] - cu_k[0];
  } else {
    s.batch = index;
    s.visibility.seq_q = args.q.shape[1];
    s.visibility.seq_k = args.k.shape[1];
  }
  const auto value_or = [&](const Tensor& values, int64_t otherwise) {
    return values.has_data() ? int64_t{values.template as<int32_t>()[index]} : otherwise;
  };
  s.visibility.queries = {value_or(args.padding.query_begin, 0),
                          value_or(args.padding.query_end, s.visibility.seq_q)};
  s.visibility.keys = {value_or(args.padding.key_begin, 0),
                       value_or(args.padding.key_end, s.visibility.seq_k)};
  return s;
}

}  // namespace strobe
