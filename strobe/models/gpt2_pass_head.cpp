// The end of a pass: logits, or the loss and, in training, its gradient.
#include <algorithm>
#include <vector>

#include "strobe/core/copy.h"
#include "strobe/models/gpt2_pass.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/gather_rows/gather_rows.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {
namespace {

// Logits exist for a chunk of rows at a time: for speed as many as take a sixth of what the blocks
// keep (10 units of M·C each, gpt2_pass.h), but no fewer than fill this.
constexpr int64_t kLeastLogitsBytes = int64_t{128} << 20;
// Rows of logits begin at multiples of this many elements, as tensor cores need it.
constexpr int64_t kRowAlignment = 64;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

void Gpt2Pass::logits(const Tensor& logits) {
  const Addition before = addition_before(config_.n_layer);
  forward_layernorm(x_final_, parameters_.ln_f, &before);
  linear_forward(ctx_, {.x = normed_.y, .weight = head_weight(), .y = logits});
}

void Gpt2Pass::next_logits(const Tensor& logits, Spans spans) {
  const Addition before = addition_before(config_.n_layer);
  forward_layernorm(x_final_, parameters_.ln_f, &before);
  Tensor last = normed_.y;
  if (time_ > 1) {
    last = allocate({batch_size_, config_.n_embd});
    std::vector<int32_t> rows;
    for (int64_t b = 0; b < batch_size_; ++b) {
      rows.push_back(static_cast<int32_t>(b * time_ + spans[b].end - 1));
    }
    const Tensor indices = on_device(ctx_, Tensor::of(rows.data(), {batch_size_}));
    gather_rows(ctx_, {.x = normed_.y, .indices = indices, .out = last});
  }
  linear_forward(ctx_, {.x = last, .weight = head_weight(), .y = logits});
}

void Gpt2Pass::losses(const Tensor& losses) {
  const Addition before = addition_before(config_.n_layer);
  forward_layernorm(x_final_, parameters_.ln_f, &before);
  if (is_training_) {
    dx_ = allocate({rows_, config_.n_embd});
    dnarrow_ = allocate({rows_, config_.n_embd});
  }
  const Arena::Scope scope(ctx_.arena());
  const int64_t vocab = config_.vocab_size, stride = round_up(vocab, kRowAlignment);
  const int64_t kept = 10 * rows_ * config_.n_embd * config_.n_layer * size_of(dtype_);
  const int64_t fitting = std::max<int64_t>(
      1, std::max(kLeastLogitsBytes, kept / 6) / (stride * static_cast<int64_t>(size_of(dtype_))));
  const int64_t chunks = (rows_ + fitting - 1) / fitting;
  const int64_t chunk = (rows_ + chunks - 1) / chunks;
  const Tensor buffer = allocate({chunk, stride}).slice(1, 0, vocab);
  for (int64_t begin = 0; begin < rows_; begin += chunk) {
    const int64_t end = std::min(rows_, begin + chunk);
    const Tensor y = normed_.y.slice(0, begin, end);
    const Tensor logits = buffer.slice(0, 0, end - begin);
    linear_forward(ctx_, {.x = y, .weight = head_weight(), .y = logits});
    cross_entropy(ctx_, {.logits = logits,
                         .labels = inputs_.targets.slice(0, begin, end),
                         .loss = losses.slice(0, begin, end),
                         .gradient_scale = is_training_ ? 1.0f : 0.0f,
                         .scale = is_training_ ? inputs_.gradient_scale : Tensor{}});
    if (!is_training_) continue;
    const Tensor& dlogits = logits;  // in place
    linear_backward(ctx_, {.x = y,
                           .weight = head_weight(),
                           .dy = dlogits,
                           .dx = dnarrow_.slice(0, begin, end),
                           .dweight = parameters_.wte.grad.transpose(0, 1),
                           .accumulate = accumulates_ || begin > 0});
  }
}

}  // namespace strobe
