#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_reference.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {

// One case of the conformance test, written as a line:
//   b=2 tq=113 tk=203 hq=6 hkv=2 d=64 dtype=bf16 mask=window left=3 right=0 padding=2 bias=5 p=0.1
//   packed=0 layout=1 threads=2 seed=17
// padding  0 none, 1 keys on the right, 2 keys on the left, 3 queries and keys, anyhow, even
//          nothing but padding. Whatever lies in the padding is NaN.
// bias     0 none; else 1 + the sum of 1, 2, 4 for a bias broadcast over batch, heads, queries. Its
//          gradient is asked for unless the seed is a multiple of 3
// packed   1: b sequences of up to tq and tk rows, some empty, in one row of cu_seqlens
// layout   0 contiguous, 1 gaps of NaN between rows, 2 q, k, v as views of one buffer (tq = tk),
//          3 gaps of one element, so that rows begin at odd addresses
struct AttentionCase {
  std::string line;
  int64_t batch, seq_q, seq_k, heads_q, heads_kv, head_dim;
  DType dtype;
  Mask mask;
  int64_t padding, bias;
  double dropout;
  bool is_packed;
  int64_t layout;
  int threads;
  uint32_t seed;

  bool wants_dbias() const { return bias != 0 && seed % 3 != 0; }

  explicit AttentionCase(const std::string& text);
};

// What exact and plain computation make of a case, in the order of the tensors' elements; dbias in
// the shape of the bias.
struct AttentionExpected {
  AttentionReferenceResult exact, plain;
};

// The values of a case, rounded to its type, row-major in the shapes of attention.h. A test may
// change a copy's values; expected() is of what they are when it is first called.
struct AttentionData {
  int64_t rows_q, rows_k;  // of the time dimension: Tq and Tk, or the sums when packed
  int64_t batch;           // of the tensors: 1 when packed
  float scale;
  Dropout dropout;
  std::vector<double> q, k, v, dout, bias;
  Shape bias_shape;
  std::vector<double> key_begin, key_end, query_begin, query_end;  // of every sequence
  std::vector<double> cu_q, cu_k;  // where the sequences begin in rows of q and of k, and the end

  explicit AttentionData(const AttentionCase& c);
  const AttentionExpected& expected() const;

 private:
  void draw_lengths(Random& random);
  void draw_bias(Random& random);
  void draw_padding(Random& random);
  AttentionReferenceCase sequence(int64_t s) const;
  AttentionReferenceResult join(const std::vector<AttentionReferenceResult>& sequences) const;
  std::vector<double> sum_of_dbias(const std::vector<AttentionReferenceResult>& sequences,
                                   std::vector<double> AttentionReferenceResult::*member) const;

  struct Cache {  // not copied: the copy's values may be changed
    std::optional<AttentionExpected> value;
    Cache() = default;
    Cache(const Cache&) {}
    Cache& operator=(const Cache&) { return value.reset(), *this; }
  };
  AttentionCase case_;
  mutable Cache cache_;
};

struct AttentionOutputs {
  std::vector<double> out, lse, dq, dk, dv;
  std::vector<double> dbias;  // empty unless the case wants it and the implementation has it
};

// A case's tensors in a context's arena, on its device.
class AttentionTensors {
 public:
  AttentionTensors(Context& ctx, const AttentionCase& c, const AttentionData& data);

  AttentionForward forward;
  AttentionBackward backward;

  // Both passes into poisoned outputs. Fails the test if an input or a gap between rows is written.
  AttentionOutputs run(Context& ctx);

  // The parts of it, for passes that the caller starts.
  void poison_outputs() const;
  // Fails the test if a gap between rows was written; afterwards outputs are poisoned again.
  AttentionOutputs take_outputs() const;

 private:
  Tensor strided(Context& ctx, const Shape& shape, std::vector<Tensor>& storages) const;
  void place(Context& ctx, Tensor* q, Tensor* k, Tensor* v, std::vector<Tensor>& storages) const;
  void expect_gaps_untouched() const;

  const AttentionCase& case_;
  const AttentionData& data_;
  std::vector<Tensor> inputs_, outputs_;  // whole storages
};

// The case as a problem with a backward pass, as far as it decides who can run it.
AttentionProblem problem_of(const AttentionCase& c);

// Calls body(impl, ctx, case, data) for all implementations for the device under test that can run
// each of the cases; `ctx` asks for that implementation, and its arena is poisoned. Fails if an
// implementation that can run here had no case, and prints those that cannot with their reason.
using AttentionBody = std::function<void(const AttentionImpl& impl, Context& ctx,
                                         const AttentionCase& c, const AttentionData& data)>;
void for_all_implementations(const std::vector<std::string>& lines, const AttentionBody& body);

// Element types to test: those of the device under test.
std::vector<std::string> types_under_test();

// The tolerance rule of docs/numerics.md for every output.
void expect_as_good_as_plain(const AttentionOutputs& actual, const AttentionCase& c,
                             const AttentionData& data);

}  // namespace strobe::testing
