#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"
#include "strobe/ops/attention/mask.h"

namespace strobe {

// Scaled dot-product attention. For every batch entry b, query head h and query i:
//
//   S[i,j] = scale · q[i]·k[j] + bias[i,j]  where key j is visible to query i, else −∞          (1)
//   L[i]   = ln Σ_j exp S[i,j]                                                                 (2)
//   P[i,j] = exp(S[i,j] − L[i])                                                                (3)
//   out[i] = Σ_j Z[i,j] P[i,j] v[j]       Z = dropout: 0 or 1/keep; 1 without                  (4)
//
// Query head h reads key/value head h / (heads_q / heads_kv) (grouped-query attention).
// A query that sees no key, and a padded query, gives out = 0, lse = −∞ and zero gradients; a
// masked key gets dk = dv = 0. Whatever lies in padding, NaN included, changes nothing else.
//
// Layout "bthd": [batch, time, heads, head_dim]; any strides as long as head_dim is contiguous, so
// a packed QKV projection is three views of one buffer. Element types f32, f16 and bf16, all four
// alike (f16 on a GPU only). head_dim is a multiple of 8 from 8 to 256.
//
// On a GPU all tensors lie in its memory, and what they hold is not checked: positions and lengths
// out of range give wrong results, though nothing outside the tensors is read.

// Optional restrictions of which keys are visible, beside the mask.
struct AttentionPadding {
  // i32 [batch], each in [0, Tk] (keys) or [0, Tq] (queries): positions outside [begin, end) are
  // padding. Absent: begin is 0, end is the length. Left padding: begin > 0; right: end < length.
  Tensor key_begin, key_end;
  Tensor query_begin, query_end;
};

struct AttentionForward {
  Tensor q;         // [B, Tq, Hq, D]
  Tensor k, v;      // [B, Tk, Hkv, D]
  Tensor out;       // [B, Tq, Hq, D]          set
  Tensor lse;       // [B, Hq, Tq] f32, contiguous  set: natural log of the scores' exp sum (eq. 2)
  float scale = 0;  // usually 1/sqrt(D)
  Mask mask;
  AttentionPadding padding;
  // f32 [B or 1, Hq or 1, Tq or 1, Tk], added to the scaled scores; −∞ masks. A query all of whose
  // scores are below −10³⁰ may count as one that sees no key.
  Tensor bias;
  Dropout dropout;
  // Packed sequences, "thd": i32 [sequences + 1], ascending from 0. Then q, out are
  // [1, ΣTq, Hq, D], k, v are [1, ΣTk, Hkv, D], lse is [1, Hq, ΣTq], and sequence s is rows
  // [cu[s], cu[s+1]). Masks and dropout count positions from the start of a sequence; padding and
  // bias must be absent.
  Tensor cu_seqlens_q, cu_seqlens_k;
  // What the chosen algorithm keeps for its backward: attention_saved_bytes() of memory. Absent
  // when no backward follows.
  Tensor saved;
};

struct AttentionBackward {
  Tensor q, k, v, out, lse, dout;  // as in the forward pass; dout like out
  Tensor dq, dk, dv;               // like q, k, v       set
  // The gradient of the bias, dS of docs/attention_backward.md summed over the dimensions in which
  // the bias is broadcast: f32, contiguous, in the bias' shape   set. Absent when nobody wants it.
  Tensor dbias;
  float scale = 0;
  Mask mask;
  AttentionPadding padding;
  Tensor bias;
  Dropout dropout;  // the same as in the forward pass
  Tensor cu_seqlens_q, cu_seqlens_k;
  Tensor saved;  // as the forward pass left it
};

// The newest Tq positions of each sequence against its cache, as generation needs it: the last Tq
// rows of a causal (or window) forward pass over the sequence's cache_lengths[b] keys.
struct AttentionDecode {
  Tensor q;  // [B, Tq, Hq, D], f32, f16 or bf16
  // [B, capacity, Hkv, D], alike: f32, f16 or bf16 with q in f32, else as q. Whatever lies behind a
  // sequence's length, NaN included, changes nothing.
  Tensor k_cache, v_cache;
  // i32 [B], each in [0, capacity]: keys of each sequence, those of the Tq newest positions
  // included. A query in front of the first key (Tq > length) gives 0.
  Tensor cache_lengths;
  Tensor out;       // like q   set
  float scale = 0;  // usually 1/sqrt(D)
  Mask mask = causal();
};

// Throws Error when an argument is missing, misshapen or out of range, or when no implementation
// that the context allows can run the problem (then with each one's reason).
void attention_forward(Context& ctx, const AttentionForward& args);

// Bit-reproducible for a given shape and thread count on a CPU; on a GPU where the context is
// deterministic.
void attention_backward(Context& ctx, const AttentionBackward& args);

// For any shape and thread count the same bits, and for each sequence the same bits whatever else
// is in the batch: so a batch generates what its prompts generate one by one.
void attention_decode(Context& ctx, const AttentionDecode& args);

// Everything that decides which implementation runs, and how much memory it takes.
struct AttentionProblem {
  int64_t batch = 0;             // sequences, also when packed
  int64_t seq_q = 0, seq_k = 0;  // packed: the sums over all sequences
  // Packed: Σ Tq·Tk over the sequences, and the largest Tq·Tk of a sequence. Where the lengths lie
  // in a GPU's memory, the most that they could be: those of one sequence with all rows.
  int64_t packed_pairs = 0;
  int64_t packed_pairs_max = 0;
  int64_t heads_q = 0, heads_kv = 0;
  int64_t head_dim = 0;
  DType dtype = DType::f32;
  Mask mask;
  bool has_dropout = false;
  bool has_bias = false;
  bool has_dbias = false;  // the bias' gradient is wanted
  bool has_padding = false;
  bool is_packed = false;
  // q, k, v, out, and in a backward pass dout, dq, dk and dv, lie as a GPU's copy engine takes
  // them: rows begin at multiples of 16 bytes, strides are positive and less than 2⁴⁰ bytes.
  bool fits_copy_engine = true;
  bool needs_backward = false;    // a backward pass follows or is this
  bool is_decode = false;         // then seq_k is the capacity of the cache
  bool is_deterministic = false;  // the context's wish
};

// Reads no device memory; throws Error where no call could have such types, heads or head_dim. That
// of a forward pass needs a backward where `saved` is given.
AttentionProblem problem_of(const Context& ctx, const AttentionForward& args);
AttentionProblem problem_of(const Context& ctx, const AttentionBackward& args);
AttentionProblem problem_of(const Context& ctx, const AttentionDecode& args);

// A row of the table of implementations.
struct AttentionImpl {
  std::string_view name;                                           // "cpu_flash_avx512"
  Algorithm algorithm;                                             // standard or flash
  std::string (*why_not)(const AttentionProblem&, const Device&);  // empty: can run
  int64_t (*saved_bytes)(const AttentionProblem&);                 // kept from forward to backward
  int64_t (*workspace_bytes)(const AttentionProblem&);  // during a pass: the larger of the two
  void (*forward)(Context&, const AttentionForward&);
  void (*backward)(Context&, const AttentionBackward&);
  void (*decode)(Context&, const AttentionDecode&);
  // Empty: nothing below it in the table is known to be faster. Null: never.
  std::string (*why_slower)(const AttentionProblem&) = nullptr;
};

// Best first. Tests, benchmarks and `strobe info` enumerate the same rows.
std::span<const AttentionImpl> attention_impls();

// The implementation that attention_forward would run: of those that the context allows, the first
// that can run the problem and is not slower there than another one; what a wish names is not asked
// how fast it is.
const AttentionImpl& select_attention(const Context& ctx, const AttentionProblem& problem);

// What select_attention thinks of every row of the table, in its order.
struct AttentionVerdict {
  const AttentionImpl* impl;
  bool can_run, is_chosen;
  std::string reason;  // why it is chosen, or why not
};
std::vector<AttentionVerdict> explain_attention(const Context& ctx,
                                                const AttentionProblem& problem);

// What a user means by a name: an algorithm (any, standard, flash), or one implementation. Throws
// an Error that lists all names when there is none such.
Wish attention_wish(std::string_view name);

// Size of `saved` for the implementation that the context selects (0: none is needed).
int64_t attention_saved_bytes(const Context& ctx, const AttentionProblem& problem);

}  // namespace strobe
