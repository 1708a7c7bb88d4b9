#include "strobe/cli/mask_rows.h"

#include <algorithm>
#include <cmath>

#include "strobe/cli/bench_kit.h"
#include "strobe/core/copy.h"
#include "strobe/ops/attention/attention_probabilities.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {
namespace {

// Probabilities of larger heads are not added up: they would take longer than all the rest.
constexpr int64_t kMostProbabilities = int64_t{1} << 22;

struct Case {
  std::string name;
  Mask mask;
  bool is_padded = false;
};

std::vector<Case> cases_of(const MaskExperiment& experiment) {
  std::vector<Case> cases = {{"full", full()}, {"causal", causal()}};
  if (experiment.window) {
    const auto [left, right] = *experiment.window;
    cases.push_back({fmt::format("window {},{}", left, right), window(left, right)});
  }
  if (!experiment.key_lengths.empty()) cases.push_back({"causal, padded", causal(), true});
  return cases;
}

// The experiment's tensors in the context's arena.
class MaskCalls {
 public:
  MaskCalls(Context& ctx, const MaskExperiment& e) : ctx_(ctx) {
    call_.q = allocate(e.dtype, {e.batch, e.seq_q, e.heads, e.head_dim});
    call_.k = allocate(e.dtype, {e.batch, e.seq_k, e.kv_heads, e.head_dim});
    call_.v = allocate(e.dtype, call_.k.shape);
    call_.out = allocate(e.dtype, call_.q.shape);
    call_.lse = allocate(DType::f32, {e.batch, e.heads, e.seq_q});
    call_.scale = 1 / std::sqrt(static_cast<float>(e.head_dim));
    fill_normal(call_.q, e.seed);
    fill_normal(call_.k, e.seed + 1);
    fill_normal(call_.v, e.seed + 2);
    baseline_ = allocate(e.dtype, call_.q.shape);
    if (e.key_lengths.empty()) return;
    for (const int64_t length : e.key_lengths) {
      const int64_t begin = e.is_left_padded ? e.seq_k - length : 0;
      key_begin_.push_back(static_cast<int32_t>(begin));
      key_end_.push_back(static_cast<int32_t>(begin + length));
    }
    lengths_ = {.key_begin = Tensor::of(key_begin_.data(), {e.batch}),
                .key_end = Tensor::of(key_end_.data(), {e.batch}),
                .query_begin = {},
                .query_end = {}};
    padding_ = {.key_begin = on_device(ctx, lengths_.key_begin),
                .key_end = on_device(ctx, lengths_.key_end),
                .query_begin = {},
                .query_end = {}};
  }

  // Attention under one mask: the rows of its statistics and patterns.
  std::vector<Json> run(const Case& c) {
    call_.mask = c.mask;
    call_.padding = c.is_padded ? padding_ : AttentionPadding();
    described_ = call_;
    described_.padding = c.is_padded ? lengths_ : AttentionPadding();
    const bool is_baseline = c.name == "full";
    AttentionForward call = call_;
    if (is_baseline) call.out = baseline_;
    attention_forward(ctx_, call);

    std::vector<Json> rows = {statistics(c)};
    if (!is_baseline) add_differences(rows[0]);
    std::vector<Visibility> seen;  // sequences of one length have one pattern
    for (int64_t b = 0; b < call_.q.shape[0]; ++b) {
      const Visibility visibility = attention_sequence(described_, b).visibility;
      const auto is_same = [&](const Visibility& v) { return v.keys == visibility.keys; };
      if (std::ranges::any_of(seen, is_same)) continue;
      seen.push_back(visibility);
      rows.push_back(pattern(c, b, visibility));
    }
    return rows;
  }

 private:
  Tensor allocate(DType dtype, const Shape& shape) {
    return ctx_.arena().allocate(MemoryUse::activations, dtype, shape);
  }

  Json statistics(const Case& c) {
    Json visible = Json::array();
    for (int64_t b = 0; b < call_.q.shape[0]; ++b) {
      const Visibility visibility = attention_sequence(described_, b).visibility;
      int64_t count = 0;
      for (int64_t i = 0; i < visibility.seq_q; ++i) {
        const Span keys = visibility.keys_of(i);
        count += keys.end - keys.begin;
      }
      visible.push_back(count);
    }
    return {{"kind", "mask"},
            {"name", c.name},
            {"mask", to_text(c.mask.kind)},
            {"attention_impl", select_attention(ctx_, problem_of(ctx_, call_)).name},
            {"entries", call_.q.shape[1] * call_.k.shape[1]},
            {"visible", visible},
            {"probability_sum_error", probability_sum_error()}};
  }

  // How far the probabilities of the first head's queries are from adding up to 1: proof that the
  // log-sum-exp is over just the keys that the pattern shows.
  Json probability_sum_error() {
    const int64_t queries = call_.q.shape[1], keys = call_.k.shape[1];
    if (queries * keys > kMostProbabilities) return nullptr;
    std::vector<float> p(static_cast<size_t>(queries * keys));
    attention_probabilities(call_, /*batch=*/0, /*head=*/0, Tensor::of(p.data(), {queries, keys}));
    double worst = 0;
    for (int64_t i = 0; i < queries; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < keys; ++j) sum += p[i * keys + j];
      const bool sees_any = !attention_sequence(described_, 0).visibility.keys_of(i).empty();
      worst = std::max(worst, std::abs(sum - (sees_any ? 1.0 : 0.0)));
    }
    return worst;
  }

  // Of all elements of the output to those of the baseline.
  void add_differences(Json& row) {
    const int64_t queries = call_.q.shape[1], width = call_.q.shape[2] * call_.q.shape[3];
    std::vector<double> by_query(static_cast<size_t>(queries));
    double largest = 0, sum = 0;
    const HostView out(call_.out), baseline(baseline_);
    with_float_type(call_.out.dtype, [&](auto type) {
      using T = decltype(type);
      for (int64_t i = 0; i < call_.out.numel(); ++i) {
        const double difference = std::abs(double{to_f32(out.tensor().as<T>()[i])} -
                                           double{to_f32(baseline.tensor().as<T>()[i])});
        largest = std::max(largest, difference);
        sum += difference;
        by_query[static_cast<size_t>(i / width % queries)] += difference;
      }
    });
    const auto of_a_query = static_cast<double>(call_.q.shape[0] * width);
    for (double& difference : by_query) difference /= of_a_query;
    row["baseline"] = "full";
    row["max_difference"] = largest;
    row["mean_difference"] = sum / static_cast<double>(call_.out.numel());
    row["mean_difference_by_query"] = by_query;
  }

  static Json pattern(const Case& c, int64_t sequence, const Visibility& visibility) {
    Json spans = Json::array();
    for (int64_t i = 0; i < visibility.seq_q; ++i) {
      const Span keys = visibility.keys_of(i);
      spans.push_back({keys.begin, keys.end});
    }
    return {{"kind", "mask_pattern"},         {"name", c.name},
            {"sequence", sequence},           {"queries", visibility.seq_q},
            {"keys", visibility.seq_k},       {"key_begin", visibility.keys.begin},
            {"key_end", visibility.keys.end}, {"spans", spans}};
  }

  Context& ctx_;
  AttentionForward call_;
  AttentionForward described_;  // the same with its lengths where the host can read them
  std::vector<int32_t> key_begin_, key_end_;
  AttentionPadding lengths_, padding_;  // on the host, and where the call is made
  Tensor baseline_;
};

}  // namespace

std::vector<Json> mask_rows(Context& ctx, const MaskExperiment& experiment) {
  const Arena::Scope scope(ctx.arena());
  MaskCalls calls(ctx, experiment);
  std::vector<Json> all;
  for (const Case& c : cases_of(experiment)) {
    for (Json& row : calls.run(c)) all.push_back(std::move(row));
  }
  return all;
}

}  // namespace strobe
