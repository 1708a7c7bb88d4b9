#pragma once

#include <cstring>

#include "strobe/ops/attention/sequence.h"

namespace strobe {

inline int64_t length(Span span) { return span.end - span.begin; }

// A matrix of a region's scores for every head, in memory of its own type or at the beginning of
// the rows of a matrix of wider elements.
struct StandardScores {
  Tensor all;  // [heads_q, rows, columns]

  StandardScores() = default;
  StandardScores(void* data, DType dtype, int64_t heads, int64_t rows, int64_t columns,
                 DType memory_dtype) {
    const auto stride = columns * static_cast<int64_t>(size_of(memory_dtype)) /
                        static_cast<int64_t>(size_of(dtype));
    all = Tensor::contiguous(data, dtype, {heads, rows, columns});
    all.strides = {rows * stride, stride, 1};
  }

  // Every group-th head from head g on.
  Tensor group_heads(int64_t g, int64_t group) const {
    Tensor view = all.slice(0, g, all.shape[0]);
    view.shape[0] = all.shape[0] / group;
    view.strides[0] *= group;
    return view;
  }
  // Row `row` of head `head`.
  void* at(int64_t head, int64_t row) const {
    if (!all.has_data()) return nullptr;
    return static_cast<char*>(all.data) + (head * all.strides[0] + row * all.strides[1]) *
                                              static_cast<int64_t>(size_of(all.dtype));
  }
  int64_t stride() const { return all.strides[1]; }
};

// One sequence of a call, and the part of its scores that is multiplied.
template <class Args>
struct StandardRegion {
  const Args& args;
  AttentionSequence sequence;
  Span queries, keys;  // from the first to the last that takes part, both empty or neither
  int64_t heads_q, heads_kv, group;

  StandardRegion(const Args& call, int64_t index)
      : args(call),
        sequence(attention_sequence(call, index)),
        heads_q(call.q.shape[2]),
        heads_kv(call.k.shape[2]),
        group(heads_q / heads_kv) {
    const Visibility& v = sequence.visibility;
    queries = v.queries_of(v.keys);
    if (queries.empty()) return;
    keys = {v.keys_of(queries.begin).begin, v.keys_of(queries.end - 1).end};
  }

  bool empty() const { return queries.empty(); }
  int64_t rows() const { return length(queries); }
  int64_t columns() const { return length(keys); }

  // The region's rows of q or of what is like it, [heads_kv, rows, head_dim]: every group-th head
  // from head g on. Those of k or of what is like it are of group 1.
  Tensor query_heads(const Tensor& x, int64_t g) const {
    return heads(x, g, group, sequence.first_q, queries);
  }
  Tensor key_heads(const Tensor& x) const { return heads(x, 0, 1, sequence.first_k, keys); }

  StandardScores scores(void* data, DType dtype, DType memory_dtype) const {
    return {data, dtype, heads_q, rows(), columns(), memory_dtype};
  }

  // To zero, in all heads: the sequence's rows of q, or of what is like it, outside the region.
  void clear_other_queries(const Tensor& x) const {
    clear_outside(x, sequence.first_q, sequence.visibility.seq_q, queries);
  }
  void clear_other_keys(const Tensor& x) const {
    clear_outside(x, sequence.first_k, sequence.visibility.seq_k, keys);
  }

 private:
  void clear_outside(const Tensor& x, int64_t first, int64_t size, Span span) const {
    const auto row_bytes = static_cast<size_t>(x.shape[3]) * size_of(x.dtype);
    for (int64_t t = 0; t < size; ++t) {
      if (t >= span.begin && t < span.end) continue;
      for (int64_t h = 0; h < x.shape[2]; ++h) {
        const int64_t offset =
            sequence.batch * x.strides[0] + (first + t) * x.strides[1] + h * x.strides[2];
        std::memset(static_cast<char*>(x.data) + offset * size_of(x.dtype), 0, row_bytes);
      }
    }
  }

  Tensor heads(const Tensor& x, int64_t head, int64_t step, int64_t first, Span span) const {
    const int64_t offset =
        sequence.batch * x.strides[0] + (first + span.begin) * x.strides[1] + head * x.strides[2];
    Tensor view = x;
    view.data = static_cast<char*>(x.data) + offset * static_cast<int64_t>(size_of(x.dtype));
    view.shape = {x.shape[2] / step, length(span), x.shape[3]};
    view.strides = {x.strides[2] * step, x.strides[1], 1};
    return view;
  }
};

}  // namespace strobe
