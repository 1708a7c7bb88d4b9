// The decode pass of the cpu_flash rows: a task for each part of a sequence's keys and each
// key/value head, so that all threads have work also when there are fewer heads than threads.
// Whoever finishes the last part of a head joins them.
#include <atomic>
#include <vector>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/decode_plan.h"

namespace strobe {
namespace {

// What the tasks leave: of every query row (in the order [B, Hq, Tq]) one state for each part.
struct States {
  int64_t queries, heads_q, head_dim, most_parts;
  Tensor sums, stats;

  States(Arena& arena, const AttentionProblem& p)
      : queries(p.seq_q),
        heads_q(p.heads_q),
        head_dim(p.head_dim),
        most_parts(most_decode_parts(p.seq_k)) {
    const int64_t states = p.batch * heads_q * queries * most_parts;
    sums = arena.allocate(MemoryUse::attention, DType::f32, {states, head_dim});
    stats = arena.allocate(MemoryUse::attention, DType::f32, {states, 2});
  }

  // From the first row of a query head on, after the keys of one part.
  DecodeState at(int64_t sequence, int64_t head, int64_t row, int64_t part) const {
    const int64_t state = ((sequence * heads_q + head) * queries + row) * most_parts + part;
    return {.sums = sums.as<float>() + state * head_dim,
            .stats = stats.as<float>() + state * 2,
            .sums_step = most_parts * head_dim,
            .stats_step = most_parts * 2};
  }
};

void merge_head(const AttentionDecode& args, const DecodeKernels& kernels, const States& states,
                int64_t sequence, int64_t head, int64_t parts) {
  for (int64_t row = 0; row < states.queries; ++row) {
    const DecodeState state = states.at(sequence, head, row, 0);
    kernels.merge(state.sums, state.stats, static_cast<int>(parts),
                  static_cast<int>(states.head_dim),
                  decode_rows(args.out, sequence, row, head).data);
  }
}

}  // namespace

void run_flash_decode(Context& ctx, const AttentionDecode& args, const DecodeKernelTable& table) {
  const DecodeKernels& kernels = decode_kernels_for(args, table);
  const AttentionProblem problem = problem_of(ctx, args);
  const Arena::Scope scope(ctx.arena());
  const States states(ctx.arena(), problem);
  const DecodePlan plan(args);
  const int64_t heads = problem.heads_kv, group = problem.heads_q / heads;
  std::vector<std::atomic<int64_t>> finished(problem.batch * heads);
  const auto& parts = plan.parts();
  parallel_for_dynamic(static_cast<int64_t>(parts.size()) * heads, [&](int64_t i, int) {
    const DecodePart& part = parts[i / heads];
    const int64_t head = i % heads, count = plan.sequence_parts(part.sequence);
    kernels.flash(decode_task(args, plan, part, head),
                  states.at(part.sequence, head * group, 0, part.index));
    if (finished[part.sequence * heads + head].fetch_add(1, std::memory_order_acq_rel) + 1 < count)
      return;
    for (int64_t h = head * group; h < (head + 1) * group; ++h) {
      merge_head(args, kernels, states, part.sequence, h, count);
    }
  });
}

int64_t flash_decode_bytes(const AttentionProblem& p) {
  return 4 * p.batch * p.heads_q * p.seq_q * most_decode_parts(p.seq_k) * (p.head_dim + 2);
}

}  // namespace strobe
