// The cpu_flash rows: cuts a call into tasks, gives every thread its scratch memory, and runs the
// kernels of one instruction set on them, the longest tasks first.
#include <algorithm>
#include <vector>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/ops/attention/cpu/impls.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {
namespace {

constexpr int64_t kMaxBlockRows = 528;  // query rows for which K and V are packed once
constexpr int64_t kBlocksPerThread = 4;  // at least, where the queries suffice, to even out the work

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }
int64_t round_up(int64_t n, int64_t step) { return divide_up(n, step) * step; }

// ---- What the memory depends on: the problem and the number of threads, nothing else.

// Query rows of all sequences, each padded to whole row panels (at most, when packed).
int64_t padded_rows(const AttentionProblem& p) {
  return p.is_packed ? p.seq_q + p.batch * (kFlashRowGrain - 1)
                     : p.batch * round_up(p.seq_q, kFlashRowGrain);
}

// Query rows of a forward task, at most.
int64_t forward_block_rows(const AttentionProblem& p) {
  const int64_t sequences = p.is_packed ? 1 : p.batch;
  int64_t rows = std::min(kMaxBlockRows, round_up(std::max<int64_t>(p.seq_q, 1), kFlashRowGrain));
  while (rows > kFlashRowGrain && sequences * p.heads_q * divide_up(p.seq_q, rows) <
                                      kBlocksPerThread * thread_count()) {
    rows -= kFlashRowGrain;
  }
  return rows;
}

// Into how many ranges of keys the backward pass cuts a sequence: the fewest that keep the threads
// busy for nine tenths of the time.
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

struct ForwardMemory {
  int64_t scratch_bytes;  // per thread
  int64_t bytes;

  ForwardMemory(const AttentionProblem& p, const FlashForwardKernels& kernels) {
    scratch_bytes = kernels.scratch_bytes(static_cast<int>(forward_block_rows(p)),
                                          static_cast<int>(p.head_dim));
    bytes = 2 * padded_rows(p) * 4 + thread_count() * scratch_bytes;
  }
};

struct BackwardMemory {
  int64_t scratch_bytes;  // per thread
  int64_t splits;
  int64_t dq_columns;
  int64_t partial_floats;  // dQ by key range: [splits, heads_q, padded rows, dq_columns]
  int64_t bytes;

  BackwardMemory(const AttentionProblem& p, const FlashBackwardKernels& kernels) {
    const int head_dim = static_cast<int>(p.head_dim);
    splits = backward_splits(p, kernels.key_tile);
    dq_columns = kernels.dq_columns(head_dim);
    partial_floats = splits == 1 ? 0 : splits * p.heads_q * padded_rows(p) * dq_columns;
    scratch_bytes = kernels.scratch_bytes(static_cast<int>(p.seq_q), static_cast<int>(p.seq_k),
                                          static_cast<int>(p.heads_q / p.heads_kv), head_dim,
                                          splits > 1);
    bytes = 2 * padded_rows(p) * 4 + thread_count() * scratch_bytes + partial_floats * 4;
  }
};

// ---- The sequences of a call, and which keys every query sees.

struct Sequence : AttentionSequence {
  int64_t first_row = 0;  // in the padded arrays of all sequences
  FlashVisible visible;
};

// `bounds` is i32 [2, padded rows].
template <class Args>
std::vector<Sequence> sequences_of(const Args& args, const AttentionProblem& problem,
                                   const Tensor& bounds) {
  std::vector<Sequence> sequences(problem.batch);
  int32_t* begin = bounds.as<int32_t>();
  int32_t* end = begin + bounds.shape[1];
  int64_t row = 0;
  for (int64_t i = 0; i < problem.batch; ++i) {
    Sequence& s = sequences[i];
    static_cast<AttentionSequence&>(s) = attention_sequence(args, i);
    s.first_row = row;
    s.visible = {begin + row, end + row};
    const int64_t padded = round_up(s.visibility.seq_q, kFlashRowGrain);
    for (int64_t r = 0; r < padded; ++r, ++row) {
      const Span keys = r < s.visibility.seq_q ? s.visibility.keys_of(r) : Span{};
      begin[row] = static_cast<int32_t>(keys.begin);
      end[row] = static_cast<int32_t>(keys.end);
    }
  }
  return sequences;
}

// Row `row`, head `head` of a "bthd" tensor.
FlashRows rows_of(const Tensor& x, const AttentionSequence& s, int64_t row, int64_t head) {
  const int64_t offset = s.batch * x.strides[0] + row * x.strides[1] + head * x.strides[2];
  return {static_cast<char*>(x.data) + offset * static_cast<int64_t>(size_of(x.dtype)),
          x.strides[1]};
}

float* lse_of(const Tensor& lse, const AttentionSequence& s, int64_t row, int64_t head) {
  return lse.as<float>() + (s.batch * lse.shape[1] + head) * lse.shape[2] + s.first_q + row;
}

// 0 where one value serves the whole dimension.
int64_t bias_stride(const Tensor& bias, int dim) {
  return bias.shape[dim] == 1 ? 0 : bias.strides[dim];
}

FlashBias bias_of(const Tensor& bias, const AttentionSequence& s, int64_t row, int64_t head) {
  if (!bias.has_data()) return {};
  return {bias.as<float>() + s.batch * bias_stride(bias, 0) + head * bias_stride(bias, 1) +
              row * bias_stride(bias, 2),
          bias_stride(bias, 2)};
}

FlashDropout dropout_of(const Dropout& dropout, const AttentionSequence& s, int64_t head) {
  return {.threshold = dropout.threshold,
          .key = {dropout.key.word[0], dropout.key.word[1]},
          .keep_scale = dropout.active() ? dropout.keep_scale() : 1.0f,
          .head = s.dropout_head + static_cast<uint32_t>(head)};
}

// A part of a sequence, the same for all its heads: query rows (forward) or key tiles (backward).
struct Part {
  const Sequence* sequence;
  int64_t begin, end;
  int64_t cost;   // visible pairs
  int64_t index;  // of the part in its sequence
};

void longest_first(std::vector<Part>& parts) {
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.cost > b.cost; });
}

// ---- Forward

std::vector<Part> forward_parts(const std::vector<Sequence>& sequences, int64_t max_rows) {
  std::vector<Part> parts;
  for (const Sequence& s : sequences) {
    const int64_t rows = s.visibility.seq_q;
    if (rows == 0) continue;
    const int64_t even = round_up(divide_up(rows, divide_up(rows, max_rows)), kFlashRowGrain);
    for (int64_t begin = 0; begin < rows; begin += even) {
      Part part = {&s, begin, std::min(begin + even, rows), 0, 0};
      for (int64_t r = part.begin; r < part.end; ++r) {
        part.cost += s.visible.end[r] - s.visible.begin[r];
      }
      parts.push_back(part);
    }
  }
  longest_first(parts);
  return parts;
}

void run_forward(Context& ctx, const AttentionForward& args, const FlashForwardKernels& kernels) {
  const AttentionProblem problem = problem_of(args);
  const ForwardMemory memory(problem, kernels);
  const Arena::Scope scope(ctx.arena());
  const Tensor bounds = ctx.arena().allocate(MemoryUse::attention, DType::i32,
                                             {2, padded_rows(problem)});
  const Tensor scratch = ctx.arena().allocate(MemoryUse::attention, DType::f32,
                                              {thread_count(), memory.scratch_bytes / 4});
  const auto sequences = sequences_of(args, problem, bounds);
  const auto parts = forward_parts(sequences, forward_block_rows(problem));
  const int64_t heads = problem.heads_q, group = heads / problem.heads_kv;
  parallel_for_dynamic(static_cast<int64_t>(parts.size()) * heads, [&](int64_t i, int thread) {
    const Part& part = parts[i / heads];
    const Sequence& s = *part.sequence;
    const int64_t head = i % heads, row = part.begin;
    kernels.run({.q = rows_of(args.q, s, s.first_q + row, head),
                 .k = rows_of(args.k, s, s.first_k, head / group),
                 .v = rows_of(args.v, s, s.first_k, head / group),
                 .out = rows_of(args.out, s, s.first_q + row, head),
                 .lse = lse_of(args.lse, s, row, head),
                 .first_row = static_cast<int>(row),
                 .rows = static_cast<int>(part.end - row),
                 .head_dim = static_cast<int>(problem.head_dim),
                 .scale = args.scale,
                 .visible = {s.visible.begin + row, s.visible.end + row},
                 .bias = bias_of(args.bias, s, row, head),
                 .dropout = dropout_of(args.dropout, s, head),
                 .scratch = static_cast<char*>(scratch.data) + thread * memory.scratch_bytes});
  });
}

// ---- Backward

// Cuts the key tiles of every sequence into `splits` ranges of nearly equal work, some perhaps empty.
std::vector<Part> backward_parts(const std::vector<Sequence>& sequences, int64_t splits,
                                 int64_t key_tile) {
  std::vector<Part> parts;
  for (const Sequence& s : sequences) {
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
  longest_first(parts);
  return parts;
}

// Adds up the sums that run_backward's tasks left, in the order of the key ranges.
void reduce_partials(const AttentionBackward& args, const AttentionProblem& problem,
                     const std::vector<Sequence>& sequences, const BackwardMemory& memory,
                     const FlashBackwardKernels& kernels, const Tensor& partials) {
  constexpr int64_t kRows = 64;
  const int64_t head_step = padded_rows(problem) * memory.dq_columns;
  for (const Sequence& s : sequences) {
    const int64_t chunks = divide_up(s.visibility.seq_q, kRows);
    parallel_for_dynamic(chunks * problem.heads_q, [&](int64_t i, int) {
      const int64_t head = i / chunks, row = i % chunks * kRows;
      const int64_t rows = std::min(kRows, s.visibility.seq_q - row);
      kernels.reduce_dq(partials.as<float>() + head * head_step +
                            (s.first_row + row) * memory.dq_columns,
                        static_cast<int>(memory.splits), problem.heads_q * head_step, args.scale,
                        rows_of(args.dq, s, s.first_q + row, head), static_cast<int>(rows),
                        static_cast<int>(problem.head_dim));
    });
  }
}

void run_backward(Context& ctx, const AttentionBackward& args,
                  const FlashBackwardKernels& kernels) {
  const AttentionProblem problem = problem_of(args);
  const BackwardMemory memory(problem, kernels);
  const Arena::Scope scope(ctx.arena());
  const Tensor bounds = ctx.arena().allocate(MemoryUse::attention, DType::i32,
                                             {2, padded_rows(problem)});
  const Tensor scratch = ctx.arena().allocate(MemoryUse::attention, DType::f32,
                                              {thread_count(), memory.scratch_bytes / 4});
  const bool is_split = memory.splits > 1;
  const Tensor partials = is_split ? ctx.arena().allocate(MemoryUse::attention, DType::f32,
                                                          {memory.partial_floats})
                                   : Tensor{};
  const auto sequences = sequences_of(args, problem, bounds);
  const auto parts = backward_parts(sequences, memory.splits, kernels.key_tile);
  const int64_t group = problem.heads_q / problem.heads_kv;
  const int64_t partial_head_step = padded_rows(problem) * memory.dq_columns;
  parallel_for_dynamic(
      static_cast<int64_t>(parts.size()) * problem.heads_kv, [&](int64_t i, int thread) {
        const Part& part = parts[i / problem.heads_kv];
        const Sequence& s = *part.sequence;
        const int64_t kv_head = i % problem.heads_kv, head = kv_head * group;
        float* partial = nullptr;
        if (is_split) {
          partial = partials.as<float>() + s.first_row * memory.dq_columns +
                    (part.index * problem.heads_q + head) * partial_head_step;
        }
        kernels.run({.q = rows_of(args.q, s, s.first_q, head),
                     .k = rows_of(args.k, s, s.first_k, kv_head),
                     .v = rows_of(args.v, s, s.first_k, kv_head),
                     .out = rows_of(args.out, s, s.first_q, head),
                     .dout = rows_of(args.dout, s, s.first_q, head),
                     .dq = rows_of(args.dq, s, s.first_q, head),
                     .dk = rows_of(args.dk, s, s.first_k, kv_head),
                     .dv = rows_of(args.dv, s, s.first_k, kv_head),
                     .lse = lse_of(args.lse, s, 0, head),
                     .group = static_cast<int>(group),
                     .q_head_stride = args.q.strides[2],
                     .out_head_stride = args.out.strides[2],
                     .dout_head_stride = args.dout.strides[2],
                     .dq_head_stride = args.dq.strides[2],
                     .lse_head_stride = args.lse.shape[2],
                     .bias_head_stride = args.bias.has_data() ? bias_stride(args.bias, 1) : 0,
                     .rows = static_cast<int>(s.visibility.seq_q),
                     .keys = static_cast<int>(s.visibility.seq_k),
                     .first_tile = static_cast<int>(part.begin),
                     .last_tile = static_cast<int>(part.end),
                     .head_dim = static_cast<int>(problem.head_dim),
                     .scale = args.scale,
                     .visible = s.visible,
                     .bias = bias_of(args.bias, s, 0, head),
                     .dropout = dropout_of(args.dropout, s, head),
                     .dq_partial = partial,
                     .dq_partial_head_stride = partial_head_step,
                     .scratch = static_cast<char*>(scratch.data) + thread * memory.scratch_bytes});
      });
  if (is_split) reduce_partials(args, problem, sequences, memory, kernels, partials);
}

// ---- The rows of the table

struct FlashIsa {
  Isa isa;
  const FlashForwardKernels &forward_f32, &forward_bf16;
  const FlashBackwardKernels &backward_f32, &backward_bf16;

  const FlashForwardKernels& forward(DType dtype) const {
    return dtype == DType::f32 ? forward_f32 : forward_bf16;
  }
  const FlashBackwardKernels& backward(DType dtype) const {
    return dtype == DType::f32 ? backward_f32 : backward_bf16;
  }
};

constexpr FlashIsa kScalar = {Isa::scalar, scalar::flash_forward_f32, scalar::flash_forward_bf16,
                              scalar::flash_backward_f32, scalar::flash_backward_bf16};
constexpr FlashIsa kAvx2 = {Isa::avx2, avx2::flash_forward_f32, avx2::flash_forward_bf16,
                            avx2::flash_backward_f32, avx2::flash_backward_bf16};
constexpr FlashIsa kAvx512 = {Isa::avx512, avx512::flash_forward_f32, avx512::flash_forward_bf16,
                              avx512::flash_backward_f32, avx512::flash_backward_bf16};
constexpr FlashIsa kAvx512Bf16 = {
    Isa::avx512_bf16, avx512::flash_forward_f32, avx512_bf16::flash_forward_bf16,
    avx512::flash_backward_f32, avx512_bf16::flash_backward_bf16};

template <const FlashIsa& kIsa>
std::string why_not(const AttentionProblem& problem, const Device& device) {
  if (problem.dtype != DType::f32 && problem.dtype != DType::bf16) {
    return fmt::format("takes f32 and bf16, not {}", problem.dtype);
  }
  return why_not_isa(kIsa.isa, device);
}

int64_t saved_bytes(const AttentionProblem&) { return 0; }

template <const FlashIsa& kIsa>
int64_t workspace_bytes(const AttentionProblem& problem) {
  const int64_t forward = ForwardMemory(problem, kIsa.forward(problem.dtype)).bytes;
  if (!problem.needs_backward) return forward;
  return std::max(forward, BackwardMemory(problem, kIsa.backward(problem.dtype)).bytes);
}

template <const FlashIsa& kIsa>
void forward(Context& ctx, const AttentionForward& args) {
  run_forward(ctx, args, kIsa.forward(args.q.dtype));
}

template <const FlashIsa& kIsa>
void backward(Context& ctx, const AttentionBackward& args) {
  run_backward(ctx, args, kIsa.backward(args.q.dtype));
}

template <const FlashIsa& kIsa>
constexpr AttentionImpl row(std::string_view name) {
  return {name,        Algorithm::flash, &why_not<kIsa>, &saved_bytes, &workspace_bytes<kIsa>,
          &forward<kIsa>, &backward<kIsa>};
}

}  // namespace

std::span<const AttentionImpl> attention_impls_cpu_flash() {
  static constexpr AttentionImpl kRows[] = {
      row<kAvx512Bf16>("cpu_flash_avx512_bf16"),
      row<kAvx512>("cpu_flash_avx512"),
      row<kAvx2>("cpu_flash_avx2"),
      row<kScalar>("cpu_flash_scalar"),
  };
  return kRows;
}

}  // namespace strobe
