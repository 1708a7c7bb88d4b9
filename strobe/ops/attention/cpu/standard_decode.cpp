// The decode pass of the cpu_standard rows: all scores in memory, softmax over them, then the sum
// of the values, each on all threads before the next begins. Scores and probabilities are f32.
#include <algorithm>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/decode_plan.h"

namespace strobe {
namespace {

// [B, Hq, Tq] rows of a score for each key of the cache.
struct Scores {
  Tensor all;  // [rows, capacity]
  Tensor lse;  // [rows], which the softmax leaves and nobody reads

  Scores(Arena& arena, const AttentionProblem& p) {
    const int64_t rows = p.batch * p.heads_q * p.seq_q;
    all = arena.allocate(MemoryUse::attention, DType::f32, {rows, p.seq_k});
    lse = arena.allocate(MemoryUse::attention, DType::f32, {rows});
  }
  float* at(int64_t row) const { return all.as<float>() + row * all.strides[0]; }
};

// Pieces of at most a tile, of all parts.
std::vector<DecodePart> tiles_of(const DecodePlan& plan) {
  std::vector<DecodePart> tiles;
  for (const DecodePart& part : plan.parts()) {
    for (int64_t begin = part.begin; begin < part.end; begin += kDecodeTile) {
      tiles.push_back(part);
      tiles.back().begin = begin;
      tiles.back().end = std::min(part.end, begin + kDecodeTile);
    }
  }
  return tiles;
}

}  // namespace

void run_standard_decode(Context& ctx, const AttentionDecode& args, const DecodeKernelTable& table,
                         const StandardKernels<float>& softmax) {
  const DecodeKernels& kernels = decode_kernels_for(args, table);
  const AttentionProblem p = problem_of(ctx, args);
  const Arena::Scope scope(ctx.arena());
  const Scores scores(ctx.arena(), p);
  const DecodePlan plan(args);
  const int64_t heads = p.heads_kv, group = p.heads_q / heads;
  const int64_t rows_of_sequence = p.heads_q * p.seq_q;
  const auto tiles = tiles_of(plan);
  parallel_for_dynamic(static_cast<int64_t>(tiles.size()) * heads, [&](int64_t i, int) {
    const DecodePart& tile = tiles[i / heads];
    const int64_t head = i % heads;
    const int64_t row = tile.sequence * rows_of_sequence + head * group * p.seq_q;
    kernels.scores(decode_task(args, plan, tile, head), scores.at(row), p.seq_k);
  });
  const auto for_rows = [&](const auto& body) {
    parallel_for_dynamic(p.batch * rows_of_sequence, [&](int64_t row, int) {
      const int64_t sequence = row / rows_of_sequence, i = row % p.seq_q;
      const FlashVisible visible = plan.visible(sequence);
      body(row, Span{visible.begin[i], visible.end[i]});
    });
  };
  for_rows([&](int64_t row, Span keys) {
    SoftmaxStripe stripe = {.stripe = {.rows = 1, .keys = keys.end, .scale = args.scale},
                            .scores = scores.at(row),
                            .probs = scores.at(row),
                            .lse = scores.lse.as<float>() + row};
    stripe.stripe.begin[0] = keys.begin;
    stripe.stripe.end[0] = keys.end;
    softmax.softmax(stripe);
  });
  for_rows([&](int64_t row, Span keys) {
    const int64_t sequence = row / rows_of_sequence, head = row / p.seq_q % p.heads_q;
    kernels.weigh(scores.at(row) + keys.begin,
                  decode_rows(args.v_cache, sequence, keys.begin, head / group),
                  keys.end - keys.begin, static_cast<int>(p.head_dim),
                  decode_rows(args.out, sequence, row % p.seq_q, head).data);
  });
}

int64_t standard_decode_bytes(const AttentionProblem& p) {
  return 4 * p.batch * p.heads_q * p.seq_q * (p.seq_k + 1);
}

}  // namespace strobe
