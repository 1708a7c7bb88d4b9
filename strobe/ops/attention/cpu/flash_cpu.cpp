// The cpu_flash rows: gives every thread its scratch memory and runs the kernels of one instruction
// set on the tasks of flash_plan.h, the most costly first.
#include <algorithm>
#include <vector>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/cpu/decode_plan.h"
#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/ops/attention/cpu/flash_plan.h"
#include "strobe/ops/attention/cpu/impls.h"

namespace strobe {
namespace {

template <class Args>
std::vector<AttentionSequence> sequences_of(const Args& args, int64_t count) {
  std::vector<AttentionSequence> sequences;
  for (int64_t i = 0; i < count; ++i) sequences.push_back(attention_sequence(args, i));
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
          .key = {dropout.current_key().word[0], dropout.current_key().word[1]},
          .keep_scale = dropout.active() ? dropout.keep_scale() : 1.0f,
          .head = s.dropout_head + static_cast<uint32_t>(head)};
}

void run_forward(Context& ctx, const AttentionForward& args, const FlashForwardKernels& kernels) {
  const AttentionProblem problem = problem_of(ctx, args);
  const FlashForwardMemory memory(problem, kernels);
  const Arena::Scope scope(ctx.arena());
  const Tensor bounds =
      ctx.arena().allocate(MemoryUse::attention, DType::i32, {2, flash_padded_rows(problem)});
  const Tensor scratch = ctx.arena().allocate(MemoryUse::attention, DType::f32,
                                              {thread_count(), memory.scratch_bytes / 4});
  const auto sequences = flash_sequences(sequences_of(args, problem.batch), bounds);
  const auto parts = flash_forward_parts(sequences, memory.block_rows);
  const int64_t heads = problem.heads_q, group = heads / problem.heads_kv;
  parallel_for_dynamic(static_cast<int64_t>(parts.size()) * heads, [&](int64_t i, int thread) {
    const FlashPart& part = parts[i / heads];
    const FlashSequence& s = *part.sequence;
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

// Adds up the sums that run_backward's tasks left, in the order of the key ranges.
void reduce_partials(const AttentionBackward& args, const AttentionProblem& problem,
                     const std::vector<FlashSequence>& sequences, const FlashBackwardMemory& memory,
                     const FlashBackwardKernels& kernels, const Tensor& partials) {
  constexpr int64_t kRows = 64;
  const int64_t head_step = flash_padded_rows(problem) * memory.dq_columns;
  for (const FlashSequence& s : sequences) {
    const int64_t chunks = (s.visibility.seq_q + kRows - 1) / kRows;
    parallel_for_dynamic(chunks * problem.heads_q, [&](int64_t i, int) {
      const int64_t head = i / chunks, row = i % chunks * kRows;
      const int64_t rows = std::min(kRows, s.visibility.seq_q - row);
      kernels.reduce_dq(
          partials.as<float>() + head * head_step + (s.first_row + row) * memory.dq_columns,
          static_cast<int>(memory.splits), problem.heads_q * head_step, args.scale,
          rows_of(args.dq, s, s.first_q + row, head), static_cast<int>(rows),
          static_cast<int>(problem.head_dim));
    });
  }
}

void run_backward(Context& ctx, const AttentionBackward& args,
                  const FlashBackwardKernels& kernels) {
  const AttentionProblem problem = problem_of(ctx, args);
  const FlashBackwardMemory memory(problem, kernels);
  const Arena::Scope scope(ctx.arena());
  const Tensor bounds =
      ctx.arena().allocate(MemoryUse::attention, DType::i32, {2, flash_padded_rows(problem)});
  const Tensor scratch = ctx.arena().allocate(MemoryUse::attention, DType::f32,
                                              {thread_count(), memory.scratch_bytes / 4});
  const bool is_split = memory.splits > 1;
  const Tensor partials =
      is_split ? ctx.arena().allocate(MemoryUse::attention, DType::f32, {memory.partial_floats})
               : Tensor{};
  const auto sequences = flash_sequences(sequences_of(args, problem.batch), bounds);
  const auto parts = flash_backward_parts(sequences, memory.splits, kernels.key_tile);
  const int64_t group = problem.heads_q / problem.heads_kv;
  const int64_t partial_head_step = flash_padded_rows(problem) * memory.dq_columns;
  parallel_for_dynamic(
      static_cast<int64_t>(parts.size()) * problem.heads_kv, [&](int64_t i, int thread) {
        const FlashPart& part = parts[i / problem.heads_kv];
        const FlashSequence& s = *part.sequence;
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

struct FlashIsa {
  Isa isa;
  const DecodeKernelTable& decode;
  const FlashForwardKernels &forward_f32, &forward_bf16;
  const FlashBackwardKernels &backward_f32, &backward_bf16;

  const FlashForwardKernels& forward(DType dtype) const {
    return dtype == DType::f32 ? forward_f32 : forward_bf16;
  }
  const FlashBackwardKernels& backward(DType dtype) const {
    return dtype == DType::f32 ? backward_f32 : backward_bf16;
  }
};

constexpr FlashIsa kScalar = {Isa::scalar,
                              scalar::decode_kernels,
                              scalar::flash_forward_f32,
                              scalar::flash_forward_bf16,
                              scalar::flash_backward_f32,
                              scalar::flash_backward_bf16};
constexpr FlashIsa kAvx2 = {Isa::avx2,
                            avx2::decode_kernels,
                            avx2::flash_forward_f32,
                            avx2::flash_forward_bf16,
                            avx2::flash_backward_f32,
                            avx2::flash_backward_bf16};
constexpr FlashIsa kAvx512 = {Isa::avx512,
                              avx512::decode_kernels,
                              avx512::flash_forward_f32,
                              avx512::flash_forward_bf16,
                              avx512::flash_backward_f32,
                              avx512::flash_backward_bf16};
constexpr FlashIsa kAvx512Bf16 = {Isa::avx512_bf16,           avx512_bf16::decode_kernels,
                                  avx512::flash_forward_f32,  avx512_bf16::flash_forward_bf16,
                                  avx512::flash_backward_f32, avx512_bf16::flash_backward_bf16};

template <const FlashIsa& kIsa>
std::string why_not(const AttentionProblem& problem, const Device& device) {
  if (problem.dtype != DType::f32 && problem.dtype != DType::bf16) {
    return fmt::format("takes f32 and bf16, not {}", problem.dtype);
  }
  if (problem.has_dbias) return "leaves no gradient of the bias, which standard does";
  return why_not_isa(kIsa.isa, device);
}

int64_t saved_bytes(const AttentionProblem&) { return 0; }

template <const FlashIsa& kIsa>
int64_t workspace_bytes(const AttentionProblem& problem) {
  if (problem.is_decode) return flash_decode_bytes(problem);
  const int64_t forward = FlashForwardMemory(problem, kIsa.forward(problem.dtype)).bytes;
  if (!problem.needs_backward) return forward;
  return std::max(forward, FlashBackwardMemory(problem, kIsa.backward(problem.dtype)).bytes);
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
void decode(Context& ctx, const AttentionDecode& args) {
  run_flash_decode(ctx, args, kIsa.decode);
}

template <const FlashIsa& kIsa>
constexpr AttentionImpl row(std::string_view name) {
  return {.name = name,
          .algorithm = Algorithm::flash,
          .why_not = &why_not<kIsa>,
          .saved_bytes = &saved_bytes,
          .workspace_bytes = &workspace_bytes<kIsa>,
          .forward = &forward<kIsa>,
          .backward = &backward<kIsa>,
          .decode = &decode<kIsa>};
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
