#pragma once

#include <algorithm>
#include <cstdint>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"

namespace strobe {

// How one backward pass is cut into work, and the memory that it takes.
struct FlashBackwardSm90Plan {
  int units = 0, section = 1, sum_copies = 1;
  int key_tiles = 0, query_tiles = 0;
  int64_t statistics = 0, query_sums = 0, counters = 0;  // of 4 bytes each

  // `head_dim` is the variant's, `processors` how many blocks run at once.
  FlashBackwardSm90Plan(const AttentionProblem& p, int head_dim, int processors) {
    constexpr int kPanelColumns = 64;
    const int block_q = flash_backward_sm90_block_q(head_dim);
    const int block_k = flash_backward_sm90_block_k(head_dim);
    const int64_t sequences = p.is_packed ? p.batch : 1, batches = p.is_packed ? 1 : p.batch;
    units = static_cast<int>(batches * p.heads_kv);
    key_tiles = static_cast<int>(most_tiles(p.seq_k, sequences, block_k, p.is_packed));
    query_tiles =
        std::max(1, static_cast<int>(most_tiles(p.seq_q, sequences, block_q, p.is_packed)));
    // So many units keep all blocks busy. Items of a section go from the longest to the shortest,
    // and while blocks still work at one section, others have begun the next.
    const int busy = key_tiles == 0 ? 1 : (processors + key_tiles - 1) / key_tiles;
    section = p.mask.kind == MaskKind::full ? 1 : busy;
    const int64_t rows = batches * p.heads_q * query_tiles * block_q;
    const int columns = (head_dim + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
    statistics = 2 * rows;
    sum_copies = p.is_deterministic ? std::min(kOrderedSums, std::max(1, key_tiles)) : 1;
    query_sums = rows * columns * sum_copies;
    // Items taken, and of each tile of ordered sums the additions; the sums stay aligned.
    counters = 4;
    if (p.is_deterministic) counters += (rows / block_q * sum_copies + 3) / 4 * 4;
  }

  int64_t bytes() const { return 4 * (statistics + query_sums + counters); }
};

}  // namespace strobe
