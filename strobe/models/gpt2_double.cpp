#include "strobe/models/gpt2_double.h"

#include <cmath>
#include <numeric>

#include "strobe/ops/attention/attention_reference.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/cross_entropy/cross_entropy_reference.h"
#include "strobe/ops/embedding/embedding_reference.h"
#include "strobe/ops/gelu/gelu_reference.h"
#include "strobe/ops/layernorm/layernorm_reference.h"
#include "strobe/ops/linear/linear_reference.h"

namespace strobe::testing {
namespace {

using Values = std::vector<double>;

// The layers of a model whose parameters all begin with `prefix`.
struct Layers {
  const NamedValues& parameters;
  const Gpt2Config& config;
  std::string prefix;

  const Values& parameter(const std::string& name) const { return parameters.at(prefix + name); }
  Values linear(const Values& x, const std::string& name, int64_t inputs) const {
    return linear_forward_reference(x, parameter(name + ".weight"), parameter(name + ".bias"),
                                    inputs);
  }
  Values layernorm(const Values& x, const std::string& name) const {
    return layernorm_forward_reference(x, parameter(name + ".weight"), parameter(name + ".bias"),
                                       config.layer_norm_epsilon)
        .y;
  }
};

}  // namespace

Dropout Gpt2Double::dropout(double p, uint32_t number) const {
  if (training_ == nullptr) return Dropout::none();
  return Dropout::with(p, random_key(training_->seed, training_->step, kSiteDropout + number));
}

Values Gpt2Double::attention(const Values& qkv, const Dropout& dropout) const {
  const int64_t width = config_.n_embd;
  Values attended;
  for (int64_t b = 0; b < batch_.batch; ++b) {
    AttentionReferenceCase c = {.seq_q = batch_.time,
                                .seq_k = batch_.time,
                                .heads_q = config_.n_head,
                                .heads_kv = config_.n_head,
                                .head_dim = config_.head_dim(),
                                .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim())),
                                .is_causal = true,
                                .sequence = b,
                                .dropout_threshold = dropout.threshold,
                                .dropout_key = {dropout.key.word[0], dropout.key.word[1]}};
    if (!batch_.begin.empty()) c.key_begin = batch_.begin[b];
    if (!batch_.end.empty()) c.key_end = batch_.end[b];
    for (int64_t t = 0; t < batch_.time; ++t) {
      const double* row = qkv.data() + (b * batch_.time + t) * 3 * width;
      c.q.insert(c.q.end(), row, row + width);
      c.k.insert(c.k.end(), row + width, row + 2 * width);
      c.v.insert(c.v.end(), row + 2 * width, row + 3 * width);
    }
    const Values out = attention_reference(c).out;
    attended.insert(attended.end(), out.begin(), out.end());
  }
  return attended;
}

Values Gpt2Double::block(const Values& x, const NamedValues& parameters, uint32_t index) const {
  const Layers w = {parameters, config_, fmt::format("transformer.h.{}.", index)};
  const int64_t width = config_.n_embd;
  const Values qkv = w.linear(w.layernorm(x, "ln_1"), "attn.c_attn", width);
  const Values attended = attention(qkv, dropout(config_.attn_pdrop, 1 + 3 * index));
  const Values x_mid = add_dropped_reference(w.linear(attended, "attn.c_proj", width), x,
                                             dropout(config_.resid_pdrop, 2 + 3 * index));
  const Values fc = w.linear(w.layernorm(x_mid, "ln_2"), "mlp.c_fc", width);
  return add_dropped_reference(
      w.linear(gelu_forward_reference(fc), "mlp.c_proj", config_.inner_dim()), x_mid,
      dropout(config_.resid_pdrop, 3 + 3 * index));
}

double Gpt2Double::loss(const NamedValues& parameters) const {
  const Layers w = {parameters, config_, "transformer."};
  std::vector<int32_t> positions(batch_.tokens.size()), labels(batch_.labels.size(), kIgnoredLabel);
  int64_t counted = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<int32_t>(i % batch_.time);
    if (positions[i] + 1 < batch_.time) labels[i] = batch_.labels[i + 1];
    counted += labels[i] >= 0;
  }
  const Values& wte = w.parameter("wte.weight");
  Values x = embedding_forward_reference(batch_.tokens, positions, wte, w.parameter("wpe.weight"),
                                         config_.n_embd);
  x = add_dropped_reference(x, {}, dropout(config_.embd_pdrop, 0));
  for (uint32_t i = 0; i < config_.n_layer; ++i) x = block(x, parameters, i);
  const Values logits =
      linear_forward_reference(w.layernorm(x, "ln_f"), wte, {}, config_.n_embd, true);
  const Values losses = cross_entropy_reference(logits, labels, 0).loss;
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(counted);
}

}  // namespace strobe::testing
