#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "strobe/core/dtype.h"

namespace strobe {

// The definition of attention, for tests: one sequence, double, no tiles, three plain loops. It
// shares nothing with the kernels: mask and dropout's mapping are written out here once more.
// Batches and packed sequences are calls of it, one after another.
struct AttentionReferenceCase {
  int64_t seq_q = 0, seq_k = 0, heads_q = 1, heads_kv = 1, head_dim = 0;
  double scale = 1;
  bool is_causal = false;
  bool is_window = false;  // of `left` keys before and `right` keys after the query's own position
  int64_t left = 0, right = 0;
  int64_t query_begin = 0, query_end = std::numeric_limits<int64_t>::max();  // padding outside
  int64_t key_begin = 0, key_end = std::numeric_limits<int64_t>::max();
  int64_t sequence = 0;            // index in the batch; only dropout depends on it
  uint32_t dropout_threshold = 0;  // of 256
  uint32_t dropout_key[2] = {};

  std::vector<double> q, dout;  // [Tq, Hq, D]; dout may be empty: then no gradients
  std::vector<double> k, v;     // [Tk, Hkv, D]
  std::vector<double> bias;     // [Hq, Tq, Tk], or empty
};

struct AttentionReferenceResult {
  std::vector<double> out, dq;  // [Tq, Hq, D]
  std::vector<double> dk, dv;   // [Tk, Hkv, D]
  std::vector<double> dbias;    // [Hq, Tq, Tk]; empty without a bias
  std::vector<double> lse;      // [Hq, Tq]
  // The largest sum of absolute values that cancel in a score, and in an element of dq or dk:
  // rounding errors are in proportion to it, not to the result. For dbias, of every element.
  double score_terms = 0;
  double gradient_terms = 0;
  std::vector<double> dbias_terms;
};

// Exact (double throughout), or a plain computation in the precision of `dtype`: every sum in f32,
// P and dS rounded to dtype before they are multiplied, results rounded to dtype
// (docs/numerics.md). Its error is the yardstick for the kernels'.
AttentionReferenceResult attention_reference(const AttentionReferenceCase& c);
AttentionReferenceResult attention_plain(const AttentionReferenceCase& c, DType dtype);

// Whether dropout leaves element (query, key) of query head `head`, by the text of dropout.h.
bool attention_reference_keeps(const AttentionReferenceCase& c, int64_t head, int64_t query,
                               int64_t key);

}  // namespace strobe
