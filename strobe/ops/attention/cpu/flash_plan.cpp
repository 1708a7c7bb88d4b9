#include "strobe/ops/attention/cpu/flash_plan.h"

#include <algorithm>

#include "strobe/core/parallel.h"

namespace strobe {
namespace {

constexpr int64_t kMaxBlockRows = 528;   // query rows for which K and V are packed once
constexpr int64_t kBlocksPerThread = 4;  // at least, where queries suffice, to even out the work

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }
int64_t round_up(int64_t n, int64_t step) { return divide_up(n, step) * step; }

int64_t forward_block_rows(const AttentionProblem& p) {
  const int64_t sequences = p.is_packed ? 1 : p.batch;
  int64_t rows = std::min(kMaxBlockRows, round_up(std::max<int64_t>(p.seq_q, 1), kFlashRowGrain));
  while (rows > kFlashRowGrain &&
         sequences * p.heads_q * divide_up(p.seq_q, rows) < kBlocksPerThread * thread_count()) {
    rows -= kFlashRowGrain;
  }
  return rows;
}

// The fewest ranges of keys that keep the threads busy for nine tenths of the time.
int64_t backward_splits(const AttentionProblem& p, int key_tile) {
  const int64_t threads = thread_count(), heads = (p.is_packed ? 1 : p.batch) * p.heads_kv;
  const auto is_balanced = [&](int64_t splits) {
    const int64_t tasks = heads * splits;
    return 10 * tasks >= 9 * round_up(tasks, threads);
  };
  int64_t splits = 1;
  while (splits < threads && !is_balanced(splits)) ++splits;
  return std::clamp<int64_t>(divide_up(p.seq_k, key_tile), 1, splits);
}

int64_t bounds_bytes(const AttentionProblem& p) { return 2 * flash_padded_rows(p) * 4; }

void most_costly_first(std::vector<FlashPart>& parts) {
  std::stable_sort(parts.begin(), parts.end(),
                   [](const FlashPart& a, const FlashPart& b) { return a.cost > b.cost; });
}

}  // namespace

int64_t flash_padded_rows(const AttentionProblem& problem) {
  return problem.is_packed ? problem.seq_q + problem.batch * (kFlashRowGrain - 1)
                           : problem.batch * round_up(problem.seq_q, kFlashRowGrain);
}

FlashForwardMemory::FlashForwardMemory(const AttentionProblem& problem,
                                       const FlashForwardKernels& kernels) {
  block_rows = forward_block_rows(problem);
  scratch_bytes =
      kernels.scratch_bytes(static_cast<int>(block_rows), static_cast<int>(problem.head_dim));
  bytes = bounds_bytes(problem) + thread_count() * scratch_bytes;
}

FlashBackwardMemory::FlashBackwardMemory(const AttentionProblem& problem,
                                         const FlashBackwardKernels& kernels) {
  const int head_dim = static_cast<int>(problem.head_dim);
  splits = backward_splits(problem, kernels.key_tile);
  scratch_bytes = kernels.scratch_bytes(
      static_cast<int>(problem.seq_q), static_cast<int>(problem.seq_k), problem.is_packed,
      static_cast<int>(problem.heads_q / problem.heads_kv), head_dim, splits > 1);
  dq_columns = kernels.dq_columns(head_dim);
  partial_floats =
      splits == 1 ? 0 : splits * problem.heads_q * flash_padded_rows(problem) * dq_columns;
  bytes = bounds_bytes(problem) + thread_count() * scratch_bytes + partial_floats * 4;
}

std::vector<FlashSequence> flash_sequences(const std::vector<AttentionSequence>& sequences,
                                           const Tensor& bounds) {
  std::vector<FlashSequence> result;
  int32_t* begin = bounds.as<int32_t>();
  int32_t* end = begin + bounds.shape[1];
  int64_t row = 0;
  for (const AttentionSequence& s : sequences) {
    result.push_back({s, row, {begin + row, end + row}});
    const int64_t rows = s.visibility.seq_q;
    for (int64_t r = 0; r < round_up(rows, kFlashRowGrain); ++r, ++row) {
      const Span keys = r < rows ? s.visibility.keys_of(r) : Span{};
      begin[row] = static_cast<int32_t>(keys.begin);
      end[row] = static_cast<int32_t>(keys.end);
    }
  }
  return result;
}

std::vector<FlashPart> flash_forward_parts(const std::vector<FlashSequence>& sequences,
                                           int64_t max_rows) {
  std::vector<FlashPart> parts;
  for (const FlashSequence& s : sequences) {
    const int64_t rows = s.visibility.seq_q;
    if (rows == 0) continue;
    const int64_t even = round_up(divide_up(rows, divide_up(rows, max_rows)), kFlashRowGrain);
    for (int64_t begin = 0; begin < rows; begin += even) {
      FlashPart part = {&s, begin, std::min(begin + even, rows), 0, begin / even};
      for (int64_t r = part.begin; r < part.end; ++r) {
        part.cost += s.visible.end[r] - s.visible.begin[r];
      }
      parts.push_back(part);
    }
  }
  most_costly_first(parts);
  return parts;
}

std::vector<FlashPart> flash_backward_parts(const std::vector<FlashSequence>& sequences,
                                            int64_t splits, int64_t key_tile) {
  std::vector<FlashPart> parts;
  for (const FlashSequence& s : sequences) {
    const int64_t keys = s.visibility.seq_k, tiles = divide_up(keys, key_tile);
    std::vector<int64_t> cost(tiles + 1, 0);  // of the tiles before
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t begin = t * key_tile, end = std::min(begin + key_tile, keys);
      const Span rows = s.visibility.queries_of({begin, end});
      cost[t + 1] = cost[t] + (rows.end - rows.begin + 1) * (end - begin);
    }
    int64_t begin = 0;
    for (int64_t i = 0; i < splits; ++i) {
      int64_t end = i + 1 == splits ? tiles : begin;
      while (end < tiles && cost[end] * splits < cost[tiles] * (i + 1)) ++end;
      parts.push_back({&s, begin, end, cost[end] - cost[begin], i});
      begin = end;
    }
  }
  most_costly_first(parts);
  return parts;
}

}  // namespace strobe
