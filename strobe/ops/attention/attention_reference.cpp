#include "strobe/ops/attention/attention_reference.h"

#include <algorithm>
#include <cmath>

namespace strobe {
namespace {

// Philox4x32-7 as the paper writes it: `counter` and `key` go through seven rounds.
void philox_7(uint32_t (&counter)[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 7; ++round) {
    const uint64_t left = 0xD2511F53ull * counter[0];
    const uint64_t right = 0xCD9E8D57ull * counter[2];
    const uint32_t next[4] = {static_cast<uint32_t>(right >> 32) ^ counter[1] ^ key0,
                              static_cast<uint32_t>(right & 0xffffffffull),
                              static_cast<uint32_t>(left >> 32) ^ counter[3] ^ key1,
                              static_cast<uint32_t>(left & 0xffffffffull)};
    for (int w = 0; w < 4; ++w) counter[w] = next[w];
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

bool is_visible(const AttentionReferenceCase& c, int64_t i, int64_t j) {
  if (i < c.query_begin || i >= c.query_end) return false;
  if (j < c.key_begin || j >= c.key_end) return false;
  const int64_t position = i + c.seq_k - c.seq_q;  // the last query stands at the last key
  if (c.is_causal && j > position) return false;
  if (c.is_window && (j < position - c.left || j > position + c.right)) return false;
  return true;
}

// One query row of one head: what forward and backward both start from.
template <class Real>
struct Row {
  std::vector<bool> visible;
  std::vector<Real> probs;    // softmax
  std::vector<Real> dropout;  // 0, or 1/keep
  double lse = -INFINITY;
};

// How `Real` arithmetic is rounded where the compute type is narrower.
struct Rounding {
  DType dtype = DType::f32;
  bool is_exact = false;
  template <class Real>
  Real operator()(Real x) const {
    if (is_exact || dtype == DType::f32) return x;
    const auto wide = static_cast<float>(x);
    return static_cast<Real>(dtype == DType::f16 ? to_f32(to_f16(wide)) : to_f32(to_bf16(wide)));
  }
};

template <class Real>
class Evaluation {
 public:
  Evaluation(const AttentionReferenceCase& c, Rounding rounding) : c_(c), round_(rounding) {}

  AttentionReferenceResult run() {
    AttentionReferenceResult result;
    result.out.assign(c_.seq_q * c_.heads_q * c_.head_dim, 0);
    result.lse.assign(c_.heads_q * c_.seq_q, -INFINITY);
    const bool has_gradients = !c_.dout.empty() || c_.seq_q == 0;
    if (has_gradients) {
      result.dq.assign(result.out.size(), 0);
      const int64_t size = c_.seq_k * c_.heads_kv * c_.head_dim;
      dk_.assign(size, 0);
      dv_.assign(size, 0);
      dk_terms_.assign(size, 0);
      result.dbias.assign(c_.bias.size(), 0);
      result.dbias_terms.assign(c_.bias.size(), 0);
    }
    for (int64_t h = 0; h < c_.heads_q; ++h) {
      for (int64_t i = 0; i < c_.seq_q; ++i) {
        const Row<Real> row = forward_row(h, i, result);
        if (has_gradients) backward_row(h, i, row, result);
      }
    }
    for (Real x : dk_) result.dk.push_back(round_(x));
    for (Real x : dv_) result.dv.push_back(round_(x));
    for (double x : dk_terms_) result.gradient_terms = std::max(result.gradient_terms, x);
    return result;
  }

 private:
  int64_t query_at(int64_t i, int64_t h) const { return (i * c_.heads_q + h) * c_.head_dim; }
  int64_t key_at(int64_t j, int64_t h) const {
    return (j * c_.heads_kv + h / (c_.heads_q / c_.heads_kv)) * c_.head_dim;
  }
  Real dot(const double* a, const double* b) const {
    Real sum = 0;
    for (int64_t d = 0; d < c_.head_dim; ++d)
      sum += static_cast<Real>(a[d]) * static_cast<Real>(b[d]);
    return sum;
  }

  double absolute_dot(const double* a, const double* b) const {
    double sum = 0;
    for (int64_t d = 0; d < c_.head_dim; ++d) sum += std::abs(a[d] * b[d]);
    return sum;
  }

  Row<Real> forward_row(int64_t h, int64_t i, AttentionReferenceResult& result) const {
    Row<Real> row;
    row.visible.assign(c_.seq_k, false);
    row.probs.assign(c_.seq_k, 0);
    row.dropout.assign(c_.seq_k, 1);
    std::vector<Real> scores(c_.seq_k);
    Real largest = -INFINITY;
    for (int64_t j = 0; j < c_.seq_k; ++j) {
      if (!is_visible(c_, i, j)) continue;
      const Real bias = c_.bias.empty() ? 0 : c_.bias[(h * c_.seq_q + i) * c_.seq_k + j];
      const double *q = &c_.q[query_at(i, h)], *k = &c_.k[key_at(j, h)];
      if (bias == -INFINITY) continue;
      row.visible[j] = true;
      scores[j] = static_cast<Real>(c_.scale) * dot(q, k) + bias;
      largest = std::max(largest, scores[j]);
      result.score_terms = std::max(result.score_terms, std::abs(c_.scale) * absolute_dot(q, k) +
                                                            std::abs(static_cast<double>(bias)));
    }
    if (largest == -INFINITY) return row;

    Real sum = 0;
    for (int64_t j = 0; j < c_.seq_k; ++j) {
      if (row.visible[j]) sum += std::exp(scores[j] - largest);
    }
    row.lse = static_cast<double>(largest + std::log(sum));
    result.lse[h * c_.seq_q + i] = row.lse;
    std::vector<Real> out(c_.head_dim, 0);
    for (int64_t j = 0; j < c_.seq_k; ++j) {
      if (!row.visible[j]) continue;
      row.probs[j] = std::exp(scores[j] - largest) / sum;
      if (c_.dropout_threshold != 0) {
        row.dropout[j] = attention_reference_keeps(c_, h, i, j)
                             ? Real{256} / static_cast<Real>(256 - c_.dropout_threshold)
                             : 0;
      }
      const Real weight = round_(row.dropout[j] * row.probs[j]);
      for (int64_t d = 0; d < c_.head_dim; ++d) {
        out[d] += weight * static_cast<Real>(c_.v[key_at(j, h) + d]);
      }
    }
    for (int64_t d = 0; d < c_.head_dim; ++d) result.out[query_at(i, h) + d] = round_(out[d]);
    return row;
  }

  void backward_row(int64_t h, int64_t i, const Row<Real>& row, AttentionReferenceResult& result) {
    if (row.lse == -INFINITY) return;
    const double* dout = &c_.dout[query_at(i, h)];
    const double* out = &result.out[query_at(i, h)];
    const Real delta = dot(out, dout);
    const double delta_terms = absolute_dot(out, dout);
    std::vector<Real> dq(c_.head_dim, 0);
    std::vector<double> terms(c_.head_dim, 0);
    for (int64_t j = 0; j < c_.seq_k; ++j) {
      if (!row.visible[j]) continue;
      const Real dprob = row.dropout[j] * dot(dout, &c_.v[key_at(j, h)]);
      const auto scale = static_cast<Real>(c_.scale);
      const Real dbias = row.probs[j] * (dprob - delta);
      const Real dscore = round_(dbias * scale);
      const Real weight = round_(row.dropout[j] * row.probs[j]);
      const double dbias_parts =
          row.probs[j] * (row.dropout[j] * absolute_dot(dout, &c_.v[key_at(j, h)]) + delta_terms);
      const double parts = std::abs(c_.scale) * dbias_parts;
      if (!c_.bias.empty()) {
        result.dbias[(h * c_.seq_q + i) * c_.seq_k + j] = round_(dbias);
        result.dbias_terms[(h * c_.seq_q + i) * c_.seq_k + j] = dbias_parts;
      }
      for (int64_t d = 0; d < c_.head_dim; ++d) {
        const int64_t key = key_at(j, h) + d, query = query_at(i, h) + d;
        dq[d] += dscore * static_cast<Real>(c_.k[key]);
        dk_[key] += dscore * static_cast<Real>(c_.q[query]);
        dv_[key] += weight * static_cast<Real>(dout[d]);
        terms[d] += parts * std::abs(c_.k[key]);
        dk_terms_[key] += parts * std::abs(c_.q[query]);
      }
    }
    for (int64_t d = 0; d < c_.head_dim; ++d) {
      result.dq[query_at(i, h) + d] = round_(dq[d]);
      result.gradient_terms = std::max(result.gradient_terms, terms[d]);
    }
  }

  const AttentionReferenceCase& c_;
  Rounding round_;
  std::vector<Real> dk_, dv_;
  std::vector<double> dk_terms_;
};

}  // namespace

AttentionReferenceResult attention_reference(const AttentionReferenceCase& c) {
  return Evaluation<double>(c, {.is_exact = true}).run();
}

AttentionReferenceResult attention_plain(const AttentionReferenceCase& c, DType dtype) {
  return Evaluation<float>(c, {.dtype = dtype}).run();
}

bool attention_reference_keeps(const AttentionReferenceCase& c, int64_t head, int64_t query,
                               int64_t key) {
  // Where in its 16×16 block the element lies; rows come in pairs (2a, 2a+1) and (2a+8, 2a+9).
  const int64_t row = query % 16, column = key % 16;
  const int64_t a = row % 8 / 2, b = column % 8 / 2;
  uint32_t words[4] = {static_cast<uint32_t>(query / 16), static_cast<uint32_t>(key / 16),
                       static_cast<uint32_t>(4 * a + b),
                       static_cast<uint32_t>(c.sequence * c.heads_q + head)};
  philox_7(words, c.dropout_key[0], c.dropout_key[1]);
  const int64_t word = 2 * ((query + key / 16) % 2) + (key + query / 16) % 2;
  const int64_t byte = 2 * (row >= 8 ? 1 : 0) + (column >= 8 ? 1 : 0);
  return (words[word] >> (8 * byte)) % 256 >= c.dropout_threshold;
}

}  // namespace strobe
