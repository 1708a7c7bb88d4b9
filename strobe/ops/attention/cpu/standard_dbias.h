#pragma once

#include <algorithm>
#include <cstring>

#include "strobe/core/arena.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/standard_kernels.h"
#include "strobe/ops/attention/cpu/standard_region.h"

namespace strobe {

// The gradient of a bias that is broadcast is a sum over what shares an element. Sequences come one
// after another, and so do the heads that share; queries that share leave a sum for each stripe,
// added up in order. So no two threads write one element, and the order is always the same.
class StandardDbias {
 public:
  StandardDbias(Arena& arena, const AttentionBackward& args, const AttentionProblem& problem)
      : dbias_(args.dbias), blocks_(block_count(problem)) {
    if (!dbias_.has_data()) return;
    sums_ =
        arena.allocate(MemoryUse::attention, DType::f32, {problem.heads_q, blocks_, problem.seq_k});
    std::memset(dbias_.data, 0, dbias_.bytes());
  }
  static int64_t sum_floats(const AttentionProblem& p) {
    return p.has_dbias ? p.heads_q * block_count(p) * p.seq_k : 0;
  }

  bool shares_heads() const { return dbias_.has_data() && dbias_.shape[1] == 1; }

  // Where a stripe whose row 0 is query `query` adds its part; null: nowhere.
  struct Rows {
    float* data = nullptr;  // of row 0 and key 0
    int64_t stride = 0;
  };
  Rows rows(int64_t sequence, int64_t head, int64_t query) const {
    if (!dbias_.has_data()) return {};
    if (shares_queries()) return {sums(head, query / kStripeRows), 0};
    return {row(sequence, head) + query * dbias_.strides[2], dbias_.strides[2]};
  }

  void start_sequence() const {
    if (shares_queries()) std::memset(sums_.data, 0, sums_.bytes());
  }
  void finish_sequence(int64_t sequence) const {
    if (!shares_queries()) return;
    const int64_t heads = shares_heads() ? 1 : sums_.shape[0], keys = sums_.shape[2];
    parallel_ranges(keys, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = 0; head < heads; ++head) {
        float* to = row(sequence, head);
        for (int64_t block = 0; block < blocks_; ++block) {
          const float* from = sums(head, block);
          for (int64_t j = begin; j < end; ++j) to[j] += from[j];
        }
      }
    });
  }

 private:
  static int64_t block_count(const AttentionProblem& p) {
    return (p.seq_q + kStripeRows - 1) / kStripeRows;
  }
  bool shares_queries() const { return dbias_.has_data() && dbias_.shape[2] == 1; }
  float* sums(int64_t head, int64_t block) const {
    return sums_.as<float>() + (shares_heads() ? 0 : head) * sums_.strides[0] +
           block * sums_.strides[1];
  }
  float* row(int64_t sequence, int64_t head) const {
    return dbias_.as<float>() + (dbias_.shape[0] == 1 ? 0 : sequence) * dbias_.strides[0] +
           (dbias_.shape[1] == 1 ? 0 : head) * dbias_.strides[1];
  }

  Tensor dbias_;
  int64_t blocks_;
  Tensor sums_;  // [heads, stripes of 16 queries, keys]
};

}  // namespace strobe
