// The end of a pass: logits, or the loss and, in training, its gradient.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/models/gpt2_pass.h"
#include "strobe/ops/cast/cast.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/linear/linear.h"

namespace strobe {
namespace {

// Logits exist for a chunk of rows at a time, of about this size: enough rows for the matrix
// products' full speed, little beside the rest of the activations.
constexpr int64_t kLogitsBytes = int64_t{128} << 20;

// The labels' rows, one position early: row b·T + t is labels[b, t+1], the last one ignored.
void shift_labels(const Tensor& labels, const Tensor& shifted) {
  const int64_t time = labels.shape[1];
  const auto* from = labels.as<int32_t>();
  auto* to = shifted.as<int32_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    to[i] = (i + 1) % time == 0 ? kIgnoredLabel : from[i + 1];
  }
}

}  // namespace

void Gpt2Pass::logits(const Tensor& logits) {
  forward_layernorm(x_final_, parameters_.ln_f);
  linear_forward(ctx_, {.x = normed_.y, .weight = head_weight(), .y = logits});
}

void Gpt2Pass::next_logits(const Tensor& logits) {
  const Tensor last = allocate({batch_size_, config_.n_embd});
  for (int64_t b = 0; b < batch_size_; ++b) {
    const int64_t row = b * time_ + span_of(b).end - 1;
    cast(ctx_, {.from = x_final_.slice(0, row, row + 1), .to = last.slice(0, b, b + 1)});
  }
  forward_layernorm(last, parameters_.ln_f);
  linear_forward(ctx_,
                 {.x = normed_.y.slice(0, 0, batch_size_), .weight = head_weight(), .y = logits});
}

double Gpt2Pass::loss() {
  check_contiguous("labels", batch_.labels, DType::i32, {batch_size_, time_});
  forward_layernorm(x_final_, parameters_.ln_f);
  const int64_t vocab = config_.vocab_size;
  const int64_t counted = counted_labels(batch_.labels);
  float gradient_scale = 0;
  if (training_ != nullptr) {
    const double scale = training_->loss_scale;
    check((scale > 0 || counted == 0) && std::isfinite(scale), "loss_scale is ", scale,
          ", allowed is more than 0");
    // Ignored rows have no gradient at any scale but 0, which would ask for none.
    gradient_scale = counted == 0 ? 1.0f : static_cast<float>(scale / counted);
    dx_ = allocate({rows_, config_.n_embd});
    dnarrow_ = allocate({rows_, config_.n_embd});
  }
  const Arena::Scope scope(ctx_.arena());
  const Tensor labels = allocate(DType::i32, {rows_});
  const Tensor losses = allocate(DType::f32, {rows_});
  shift_labels(batch_.labels, labels);

  const int64_t fitting = std::max<int64_t>(1, kLogitsBytes / (vocab * size_of(dtype_)));
  const int64_t chunks = (rows_ + fitting - 1) / fitting;
  const int64_t chunk = (rows_ + chunks - 1) / chunks;
  const Tensor buffer = allocate({chunk, vocab});
  for (int64_t begin = 0; begin < rows_; begin += chunk) {
    const int64_t end = std::min(rows_, begin + chunk);
    const Tensor y = normed_.y.slice(0, begin, end);
    const Tensor logits = buffer.slice(0, 0, end - begin);
    linear_forward(ctx_, {.x = y, .weight = head_weight(), .y = logits});
    cross_entropy(ctx_, {.logits = logits,
                         .labels = labels.slice(0, begin, end),
                         .loss = losses.slice(0, begin, end),
                         .gradient_scale = gradient_scale});
    if (training_ == nullptr) continue;
    const Tensor& dlogits = logits;  // in place
    linear_backward(ctx_, {.x = y,
                           .weight = head_weight(),
                           .dy = dlogits,
                           .dx = dnarrow_.slice(0, begin, end),
                           .dweight = parameters_.wte.grad.transpose(0, 1),
                           .accumulate = training_->accumulate || begin > 0});
  }
  const auto* row_losses = losses.as<float>();
  const double sum = std::accumulate(row_losses, row_losses + rows_, 0.0);
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

}  // namespace strobe
