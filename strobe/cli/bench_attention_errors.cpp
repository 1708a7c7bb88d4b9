#include <algorithm>
#include <cmath>
#include <mutex>

#include "strobe/cli/bench_attention.h"
#include "strobe/core/copy.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/dropout.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {
namespace {

using Doubles = std::vector<double>;

constexpr double kMostFlop = 1e9;  // of the reference, forward and backward: about a second

// The elements of a tensor in host memory, whatever device it is on.
class HostCopy {
 public:
  explicit HostCopy(const Tensor& tensor) : bytes_(tensor.bytes()) {
    host_ = Tensor::contiguous(bytes_.data(), tensor.dtype, tensor.shape);
    copy_now(tensor, host_);
  }
  const Tensor& tensor() const { return host_; }
  // [b, begin … end, h, :] of [B, T, H, D]
  Doubles rows(int64_t b, int64_t begin, int64_t end, int64_t h) const {
    Doubles values;
    values.reserve(static_cast<size_t>((end - begin) * host_.shape[3]));
    with_float_type(host_.dtype, [&](auto type) {
      for (int64_t t = begin; t < end; ++t) {
        const auto* row = host_.as<decltype(type)>() + offset(b, t, h);
        for (int64_t d = 0; d < host_.shape[3]; ++d) values.push_back(to_f32(row[d]));
      }
    });
    return values;
  }
  void clear_row(int64_t b, int64_t t, int64_t h) {
    const auto size = static_cast<int64_t>(size_of(host_.dtype));
    std::fill_n(bytes_.begin() + offset(b, t, h) * size, host_.shape[3] * size, char{0});
  }

 private:
  int64_t offset(int64_t b, int64_t t, int64_t h) const {
    return ((b * host_.shape[1] + t) * host_.shape[2] + h) * host_.shape[3];
  }
  std::vector<char> bytes_;
  Tensor host_;
};

// Differences of one tensor from its exact values. NaN stays.
struct Difference {
  double worst = 0, largest = 0, squares = 0, exact_squares = 0;

  void add(const Doubles& actual, const double* exact) {
    for (size_t i = 0; i < actual.size(); ++i) {
      const double error = std::abs(actual[i] - exact[i]);
      if (!(error <= worst) && !std::isnan(worst)) worst = error;
      largest = std::max(largest, std::abs(exact[i]));
      squares += error * error;
      exact_squares += exact[i] * exact[i];
    }
  }
  void add(const Difference& other) {
    if (!(other.worst <= worst) && !std::isnan(worst)) worst = other.worst;
    largest = std::max(largest, other.largest);
    squares += other.squares;
    exact_squares += other.exact_squares;
  }
  double max() const { return largest > 0 ? worst / largest : worst; }
  double rms() const { return exact_squares > 0 ? std::sqrt(squares / exact_squares) : worst; }
};
struct Differences {
  Difference out, dq, dk, dv;
};

int64_t queries_to_check(const AttentionCase& c) {
  const double flop_of_a_query = 3 * forward_flop(c) / static_cast<double>(c.seq_q);
  const auto affordable = static_cast<int64_t>(kMostFlop / flop_of_a_query);
  return std::clamp<int64_t>(affordable, 1, c.seq_q);
}

// The queries of a head that are compared: all, or the last one of the first head, the first one of
// the second, and others at random.
std::vector<int64_t> queries_of_head(const AttentionCase& c, int64_t head, int64_t count) {
  std::vector<int64_t> queries;
  for (int64_t i = 0; i < c.seq_q && count == c.seq_q; ++i) queries.push_back(i);
  Random random(random_key(1, static_cast<uint64_t>(head), 0));
  if (queries.empty() && head < 2) queries.push_back(head == 0 ? c.seq_q - 1 : 0);
  while (static_cast<int64_t>(queries.size()) < count) {
    const auto query = static_cast<int64_t>(random.below(static_cast<uint64_t>(c.seq_q)));
    if (std::ranges::count(queries, query) == 0) queries.push_back(query);
  }
  return queries;
}

// What the two passes were called with and what they gave, and the definition of attention on one
// head of keys and values and the queries that belong to it.
class ErrorCheck {
 public:
  ErrorCheck(const AttentionCase& problem, const AttentionBackward& args, int64_t queries)
      : case_(problem),
        scale_(args.scale),
        dropout_(args.dropout),
        queries_(queries),
        q_(args.q),
        k_(args.k),
        v_(args.v),
        dout_(args.dout) {}

  // Clears the gradient of out of queries that are not compared.
  void clear_others(const Tensor& dout) {
    if (queries_ == case_.seq_q) return;
    for (int64_t b = 0; b < case_.batch; ++b) {
      for (int64_t h = 0; h < case_.heads; ++h) {
        const std::vector<int64_t> kept = queries_of_head(case_, b * case_.heads + h, queries_);
        for (int64_t i = 0; i < case_.seq_q; ++i) {
          if (std::ranges::count(kept, i) == 0) dout_.clear_row(b, i, h);
        }
      }
    }
    copy_now(dout_.tensor(), dout);
  }

  Differences compare(const AttentionBackward& results) const {
    const HostCopy out(results.out), dq(results.dq), dk(results.dk), dv(results.dv);
    Differences all;
    std::mutex mutex;
    parallel_for_dynamic(case_.batch * case_.kv_heads, [&](int64_t index, int) {
      const Differences one =
          compare_head(out, dq, dk, dv, index / case_.kv_heads, index % case_.kv_heads);
      const std::scoped_lock lock(mutex);
      all.out.add(one.out);
      all.dq.add(one.dq);
      all.dk.add(one.dk);
      all.dv.add(one.dv);
    });
    return all;
  }

 private:
  struct Head {
    Doubles k, v, dk, dv;
  };

  Differences compare_head(const HostCopy& out, const HostCopy& dq, const HostCopy& dk,
                           const HostCopy& dv, int64_t b, int64_t kv_head) const {
    Head head = {.k = k_.rows(b, 0, case_.seq_k, kv_head),
                 .v = v_.rows(b, 0, case_.seq_k, kv_head)};
    head.dk.assign(head.k.size(), 0);
    head.dv.assign(head.v.size(), 0);
    Differences result;
    const int64_t group = case_.heads / case_.kv_heads;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      Doubles exact_dq(static_cast<size_t>(case_.seq_q * case_.head_dim), 0);
      for (const int64_t i : queries_of_head(case_, b * case_.heads + h, queries_)) {
        const Doubles exact_out = add_query(head, b, h, i, &exact_dq[i * case_.head_dim]);
        result.out.add(out.rows(b, i, i + 1, h), exact_out.data());
      }
      result.dq.add(dq.rows(b, 0, case_.seq_q, h), exact_dq.data());
    }
    result.dk.add(dk.rows(b, 0, case_.seq_k, kv_head), head.dk.data());
    result.dv.add(dv.rows(b, 0, case_.seq_k, kv_head), head.dv.data());
    return result;
  }

  // One query: its out, its dq (set), and what it adds to dk and dv.
  Doubles add_query(Head& head, int64_t b, int64_t h, int64_t i, double* dq) const {
    const int64_t width = case_.head_dim;
    Doubles out(static_cast<size_t>(width), 0);
    const Span seen = keys_of(i);
    if (seen.empty()) return out;
    const Doubles q = q_.rows(b, i, i + 1, h), dout = dout_.rows(b, i, i + 1, h);
    const auto dot = [&](const Doubles& a, const Doubles& rows, int64_t j) {
      double sum = 0;
      for (int64_t d = 0; d < width; ++d) sum += a[d] * rows[j * width + d];
      return sum;
    };
    Doubles probs(static_cast<size_t>(seen.end - seen.begin)), keep(probs.size(), 1);
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      probs[j - seen.begin] = scale_ * dot(q, head.k, j);
      if (!dropout_.active()) continue;
      keep[j - seen.begin] = dropout_keeps(dropout_, static_cast<uint32_t>(b * case_.heads + h),
                                           static_cast<uint32_t>(i), static_cast<uint32_t>(j))
                                 ? 256.0 / (256.0 - dropout_.threshold)
                                 : 0;
    }
    const double largest = *std::ranges::max_element(probs);
    double total = 0;
    for (double& p : probs) total += p = std::exp(p - largest);
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      const double p = probs[j - seen.begin] /= total;
      for (int64_t d = 0; d < width; ++d) {
        out[d] += keep[j - seen.begin] * p * head.v[j * width + d];
      }
    }
    double delta = 0;
    for (int64_t d = 0; d < width; ++d) delta += out[d] * dout[d];
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      const double p = probs[j - seen.begin], kept = keep[j - seen.begin];
      const double dscore = scale_ * p * (kept * dot(dout, head.v, j) - delta);
      for (int64_t d = 0; d < width; ++d) {
        dq[d] += dscore * head.k[j * width + d];
        head.dk[j * width + d] += dscore * q[d];
        head.dv[j * width + d] += kept * p * dout[d];
      }
    }
    return out;
  }

  Span keys_of(int64_t i) const {
    return Visibility{.mask = case_.mask,
                      .seq_q = case_.seq_q,
                      .seq_k = case_.seq_k,
                      .queries = {0, case_.seq_q},
                      .keys = {0, case_.seq_k - case_.padded_keys}}
        .keys_of(i);
  }

  AttentionCase case_;
  double scale_;
  Dropout dropout_;
  int64_t queries_;
  HostCopy q_, k_, v_, dout_;
};

}  // namespace

AttentionErrors measure_errors(Context& ctx, const AttentionCase& problem) {
  const Arena::Scope scope(ctx.arena());
  const AttentionTensors tensors = make_tensors(ctx, problem);
  const int64_t queries = queries_to_check(problem);
  ErrorCheck exact(problem, tensors.backward, queries);
  exact.clear_others(tensors.backward.dout);
  attention_forward(ctx, tensors.forward);
  attention_backward(ctx, tensors.backward);
  const Differences d = exact.compare(tensors.backward);
  const auto worst = [](std::initializer_list<double> errors) {
    double largest = 0;
    for (const double error : errors) {
      if (!(error <= largest) && !std::isnan(largest)) largest = error;
    }
    return largest;
  };
  return {.forward_max = d.out.max(),
          .forward_rms = d.out.rms(),
          .backward_max = worst({d.dq.max(), d.dk.max(), d.dv.max()}),
          .backward_rms = worst({d.dq.rms(), d.dk.rms(), d.dv.rms()}),
          .queries = queries};
}

}  // namespace strobe
