#pragma once

#include <algorithm>
#include <cstdint>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"
#include "strobe/ops/attention/cuda/sm90/shared_panels.h"

namespace strobe {

// How one backward pass is cut into work, and the memory that it takes.
struct FlashBackwardSm90Plan {
  int units = 0, section = 1, sections = 1;
  int first_backward = 0;  // unit that goes backward, as do those behind it
  bool is_ordered = false;
  int block_q = 0;  // queries of a step
  int key_tiles = 0, query_tiles = 0;
  int64_t statistics = 0, query_sums = 0, zeros = 0, counters = 0;  // of 4 bytes each
  static constexpr int kOwnCounters = 4;                            // the rest stays aligned

  // `head_dim` is the variant's, `processors` how many blocks run at once.
  FlashBackwardSm90Plan(const AttentionProblem& p, int head_dim, int processors, int64_t l2_bytes) {
    const int64_t group = p.heads_q / p.heads_kv;
    block_q = flash_backward_sm90_block_q(head_dim, p.has_dropout, seeing_queries(p));
    const int block_k = flash_backward_sm90_block_k(head_dim);
    const int64_t sequences = p.is_packed ? p.batch : 1, batches = p.is_packed ? 1 : p.batch;
    units = static_cast<int>(batches * p.heads_kv);
    key_tiles = static_cast<int>(most_tiles(p.seq_k, sequences, block_k, p.is_packed));
    query_tiles =
        std::max(1, static_cast<int>(most_tiles(p.seq_q, sequences, block_q, p.is_packed)));
    is_ordered = !flash_backward_sm90_has_roles(head_dim);
    // Under a mask, items of a unit that are taken one after the other are so many steps apart.
    const int64_t apart = (block_k * group + block_q - 1) / block_q;
    section = std::min(section_units(p, apart, processors), std::max(1, units));
    if (is_ordered && p.mask.kind == MaskKind::causal && group == 1) {
      // What a section goes through has room in half of the L2 cache: −1% of time from T = 8192 on.
      const int64_t near = l2_bytes / 2 / std::max<int64_t>(1, unit_bytes(p, head_dim));
      section = static_cast<int>(std::clamp<int64_t>(near, 1, section));
    }
    set_sections(p, apart);
    const int64_t rows = batches * p.heads_q * query_tiles * block_q;
    statistics = 2 * rows;
    query_sums = rows * (panels_of(head_dim) * kPanelColumns);
    zeros = is_ordered ? 0 : query_sums;
    counters = kOwnCounters + (is_ordered ? 2 * (rows / block_q) : 0);
  }

  int64_t bytes() const { return 4 * (statistics + query_sums + counters); }

 private:
  // How many queries see a key, on average over the keys of a sequence that has as many of them as
  // of queries, and over packed sequences.
  static int64_t seeing_queries(const AttentionProblem& p) {
    const int64_t queries = p.is_packed ? p.seq_q / std::max<int64_t>(1, p.batch) : p.seq_q;
    if (queries == 0) return 0;
    int64_t left = queries, right = queries;  // of the mask, within the sequence
    if (p.mask.kind == MaskKind::causal) right = 0;
    if (p.mask.kind == MaskKind::window) {
      left = std::min(p.mask.left, queries);
      right = std::min(p.mask.right, queries);
    }
    return left + right - (left * left + right * right) / (2 * queries);  // less those behind ends
  }

  // What a unit's items read of a sequence, and the sums that they add to; without groups of heads.
  static int64_t unit_bytes(const AttentionProblem& p, int head_dim) {
    const int64_t sequences = p.is_packed ? std::max<int64_t>(1, p.batch) : 1;
    const int64_t sums = 4 * kPanelColumns * panels_of(head_dim);  // for a query
    return (4 * head_dim * (p.seq_k + p.seq_q) + sums * p.seq_q) / sequences;
  }

  void set_sections(const AttentionProblem& p, int64_t apart) {
    const bool is_masked = p.mask.kind != MaskKind::full;
    // Farther apart, the L2 cache does not hold for one item what the one before has loaded. Those
    // that go backward begin at the same queries, and wait little where they are that long.
    constexpr int64_t kFarApart = 4;
    const bool all_backward = is_masked && is_ordered && apart >= kFarApart;
    // Of packed sequences no section is the last one of each.
    const bool last_backward = is_masked && is_ordered && !p.is_packed;
    // A last section that begins with its longest items is a long one, so that it has enough short
    // ones to fill what those leave at the end.
    if (!is_ordered) {
      sections = std::max(1, units / section - 1);
    } else if (all_backward || last_backward) {
      sections = std::max(1, units / section);
    } else {
      sections = (units + section - 1) / section;
    }
    first_backward = all_backward ? 0 : last_backward ? (sections - 1) * section : units;
  }

  // Items of a section: all its units' first tiles of keys, then all their second ones, and so on.
  int section_units(const AttentionProblem& p, int64_t apart, int processors) const {
    const auto at_least = [](int64_t total, int64_t each) {
      return static_cast<int>(each == 0 ? 1 : (total + each - 1) / each);
    };
    // So many units keep all blocks busy. Packed sequences come one after the other.
    const int busy = at_least(processors, p.is_packed ? at_least(key_tiles, p.batch) : key_tiles);
    const bool is_full = p.mask.kind == MaskKind::full;
    if (!is_ordered) return is_full ? 1 : busy;
    // So many units have a unit's items some steps apart: enough for an addition to be seen before
    // the next one comes, and so few that the L2 cache still holds the sums, and what the item
    // before has loaded. Without a mask, items go through the same queries, each behind the one
    // before.
    constexpr int kStepsApart = 2, kLeast = 4;
    if (!is_full) return busy * at_least(kStepsApart, apart);
    const int64_t steps = int64_t{query_tiles} * (p.heads_q / p.heads_kv);
    return std::max({busy, at_least(int64_t{kStepsApart} * processors, steps), kLeast});
  }
};

}  // namespace strobe
