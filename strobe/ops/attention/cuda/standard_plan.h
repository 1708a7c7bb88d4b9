#pragma once

#include <algorithm>
#include <cstdint>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/standard_params.h"

namespace strobe {

// How cuda_standard takes the scores of a call in chunks, and what memory that needs. A chunk is
// some key/value heads of one sequence, or all heads of some sequences. Packed sequences are one of
// all rows, in which queries see the keys of their own sequence.
struct StandardPlan {
  // f32 scores of a chunk. Chunks that stay in the second-level cache are slower, as they leave the
  // GPU idle between kernels: on an H100, 4×1024 tokens of 12 heads in f16 take forward 31% longer
  // in chunks of 32 MiB, 15% of 48 and 10% of 96 than in one of 201 MiB.
  static constexpr int64_t kChunkBytes = int64_t{256} << 20;
  static constexpr int64_t kMostChunkPairs = 16384;

  int64_t batch, seq_q, seq_k, heads_q, heads_kv, group, head_dim, element_bytes;
  int64_t row_stride, pair_elements;
  int64_t chunk_units;  // pairs of a sequence and a key/value head
  bool has_dropout, needs_clean_copies, needs_backward;

  explicit StandardPlan(const AttentionProblem& p)
      : batch(p.is_packed ? 1 : p.batch),
        seq_q(p.seq_q),
        seq_k(p.seq_k),
        heads_q(p.heads_q),
        heads_kv(p.heads_kv),
        group(p.heads_q / p.heads_kv),
        head_dim(p.head_dim),
        element_bytes(static_cast<int64_t>(size_of(p.dtype))),
        row_stride((p.seq_k + kScoreVector - 1) / kScoreVector * kScoreVector),
        pair_elements(p.seq_q * row_stride),
        has_dropout(p.has_dropout),
        needs_clean_copies(p.has_padding),
        needs_backward(p.needs_backward) {
    const int64_t unit_bytes = std::max<int64_t>(1, group * pair_elements * 4);
    int64_t most = std::min(kChunkBytes / unit_bytes, kMostChunkPairs / group);
    most = std::max<int64_t>(most, 1);
    if (most >= heads_kv) {
      chunk_units = std::clamp<int64_t>(most / heads_kv, 1, std::max<int64_t>(batch, 1)) * heads_kv;
    } else {
      for (chunk_units = most; heads_kv % chunk_units != 0;) --chunk_units;
    }
  }

  int64_t pairs() const { return batch * heads_q; }
  bool is_empty() const { return batch == 0 || seq_q == 0 || seq_k == 0; }
  bool is_narrow() const { return element_bytes == 2; }
  int64_t chunk_elements() const { return chunk_units * group * pair_elements; }
  int64_t query_elements() const { return batch * seq_q * heads_q * head_dim; }
  int64_t key_elements() const { return batch * seq_k * heads_kv * head_dim; }
  // dk and dv of grouped heads are sums of several products: 16 bits are rounded after the last.
  int64_t key_sum_elements() const {
    return is_narrow() && group > 1 ? chunk_units * seq_k * head_dim : 0;
  }

  int64_t saved_bytes() const {
    return needs_backward ? pairs() * pair_elements * element_bytes : 0;
  }

  // Arrays of addresses for the matrix products of a pass.
  static constexpr int kForwardArrays = 6, kBackwardArrays = 11;
  int64_t address_bytes(int arrays) const { return pairs() * arrays * 8; }

  // Whether v is multiplied by something else than what is kept, or in another place.
  bool needs_forward_weights() const { return is_narrow() && (has_dropout || !needs_backward); }
  int64_t forward_bytes() const {
    if (is_empty()) return 0;
    const int64_t weights = needs_forward_weights() ? element_bytes : 0;
    const int64_t copies = needs_clean_copies ? key_elements() : 0;
    return chunk_elements() * (4 + weights) + copies * element_bytes +
           address_bytes(kForwardArrays);
  }
  int64_t backward_bytes() const {
    if (is_empty()) return 0;
    const int64_t dscores = is_narrow() ? element_bytes : 0;
    const int64_t weights = has_dropout ? element_bytes : 0;
    const int64_t copies = needs_clean_copies ? key_elements() + 2 * query_elements() : 0;
    return chunk_elements() * (4 + dscores + weights) + copies * element_bytes +
           key_sum_elements() * 4 + address_bytes(kBackwardArrays);
  }
};

}  // namespace strobe
