#pragma once

#include <cstdint>
#include <vector>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cpu/decode_kernels.h"
#include "strobe/ops/attention/cpu/standard_kernels.h"

namespace strobe {

// How the keys of a decode call are cut into tasks: by each sequence's own length, never by what
// else is in the batch or by the number of threads, because the cuts decide the order of the sums.

// Keys [begin, end) of a sequence, the same for all its heads; none where it sees none.
struct DecodePart {
  int64_t sequence;
  int64_t begin, end;
  int64_t index;  // of the sequence's parts
};

class DecodePlan {
 public:
  explicit DecodePlan(const AttentionDecode& args);

  // In the order of the sequences and of their keys. A sequence that sees no key has one part.
  const std::vector<DecodePart>& parts() const { return parts_; }
  int64_t sequence_parts(int64_t sequence) const { return counts_[sequence]; }
  FlashVisible visible(int64_t sequence) const {
    const int64_t row = sequence * queries_;
    return {begin_.data() + row, end_.data() + row};
  }

 private:
  void add_parts(int64_t sequence, int64_t length, Span seen);

  int64_t queries_;
  std::vector<int32_t> begin_, end_;  // keys that a query sees, [B, Tq]
  std::vector<DecodePart> parts_;
  std::vector<int64_t> counts_;
};

// The most parts of a sequence of up to `length` keys.
int64_t most_decode_parts(int64_t length);

// The task of one part and key/value head.
DecodeTask decode_task(const AttentionDecode& args, const DecodePlan& plan, const DecodePart& part,
                       int64_t kv_head);

// Element 0 of (sequence, row, head) of a "bthd" tensor.
FlashRows decode_rows(const Tensor& x, int64_t sequence, int64_t row, int64_t head);

// The kernels for the call's types, which have been validated.
const DecodeKernels& decode_kernels_for(const AttentionDecode& args,
                                        const DecodeKernelTable& table);

// The two algorithms on the kernels of one instruction set, and what each takes from the arena as
// MemoryUse::attention.
void run_flash_decode(Context& ctx, const AttentionDecode& args, const DecodeKernelTable& kernels);
int64_t flash_decode_bytes(const AttentionProblem& problem);
void run_standard_decode(Context& ctx, const AttentionDecode& args,
                         const DecodeKernelTable& kernels, const StandardKernels<float>& softmax);
int64_t standard_decode_bytes(const AttentionProblem& problem);

}  // namespace strobe
