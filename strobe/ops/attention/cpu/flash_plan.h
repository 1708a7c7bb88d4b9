#pragma once

#include <cstdint>
#include <vector>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {

// How cpu_flash cuts a call into tasks, and the memory that they take. The memory depends on the
// problem and on the number of threads, nothing else, so that workspace_bytes can tell it.

// Query rows of all sequences, each padded to kFlashRowGrain (at most, when packed).
int64_t flash_padded_rows(const AttentionProblem& problem);

struct FlashForwardMemory {
  int64_t block_rows;     // of a task, at most
  int64_t scratch_bytes;  // per thread
  int64_t bytes;          // in all

  FlashForwardMemory(const AttentionProblem& problem, const FlashForwardKernels& kernels);
};

struct FlashBackwardMemory {
  int64_t splits;          // ranges that a sequence's keys are cut into, one task each
  int64_t scratch_bytes;   // per thread
  int64_t dq_columns;      // of a partial sum
  int64_t partial_floats;  // dQ by range: [splits, heads_q, padded rows, dq_columns]; 0 for one
  int64_t bytes;           // in all

  FlashBackwardMemory(const AttentionProblem& problem, const FlashBackwardKernels& kernels);
};

struct FlashSequence : AttentionSequence {
  int64_t first_row = 0;  // in arrays of the padded rows of all sequences
  FlashVisible visible;
};

// `bounds` is i32 [2, padded rows] and is set; the result points into it.
std::vector<FlashSequence> flash_sequences(const std::vector<AttentionSequence>& sequences,
                                           const Tensor& bounds);

// A part of a sequence, the same for all its heads: query rows (forward) or key tiles (backward).
struct FlashPart {
  const FlashSequence* sequence;
  int64_t begin, end;
  int64_t cost;   // in visible pairs
  int64_t index;  // of the part in its sequence
};

// Blocks of nearly equal numbers of query rows, at most `max_rows`, the most costly first.
std::vector<FlashPart> flash_forward_parts(const std::vector<FlashSequence>& sequences,
                                           int64_t max_rows);

// `splits` ranges of key tiles of nearly equal work for every sequence, some perhaps empty, the
// most costly first.
std::vector<FlashPart> flash_backward_parts(const std::vector<FlashSequence>& sequences,
                                            int64_t splits, int64_t key_tile);

}  // namespace strobe
