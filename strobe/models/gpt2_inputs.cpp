#include "strobe/models/gpt2_inputs.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "strobe/core/copy.h"
#include "strobe/core/random.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"

namespace strobe {
namespace {

static_assert(sizeof(PhiloxKey) == 2 * sizeof(int32_t));

// Cuts a run of words into tensors, one after the other.
class Cutter {
 public:
  explicit Cutter(const Tensor& words) : words_(words) {}

  Tensor next(const Shape& shape, DType dtype = DType::i32) {
    Tensor tensor = words_.slice(0, used_, used_ + shape.numel()).view(shape);
    tensor.dtype = dtype;
    used_ += shape.numel();
    return tensor;
  }
  Tensor next_if(bool is_there, const Shape& shape) { return is_there ? next(shape) : Tensor{}; }

 private:
  Tensor words_;
  int64_t used_ = 0;
};

void check_ends(const char* name, const Tensor& ends, int64_t time) {
  if (!ends.has_data()) return;
  for (int64_t b = 0; b < ends.numel(); ++b) {
    const int32_t end = ends.as<int32_t>()[b];
    check(end >= 0 && end <= time, name, "[", b, "] is ", end, ", allowed is 0 to ", time);
  }
}

// The labels, one position early: target b·T + t is labels[b, t+1], the last one ignored.
void write_targets(const Tensor& labels, const Tensor& targets, int64_t vocab) {
  const int64_t time = labels.shape[1];
  const auto* from = labels.as<int32_t>();
  auto* to = targets.as<int32_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    to[i] = (i + 1) % time == 0 ? kIgnoredLabel : from[i + 1];
    check(to[i] == kIgnoredLabel || (to[i] >= 0 && to[i] < vocab), "labels have ", to[i], " at [",
          i / time, ", ", i % time + 1, "], allowed are ", kIgnoredLabel, " and 0 to ", vocab - 1);
  }
}

void write_training(const Gpt2Inputs& inputs, const Gpt2Batch& batch,
                    const Gpt2TrainingPass& training) {
  const int64_t counted = counted_labels(batch.labels);
  const double share = training.loss_scale;
  check((share > 0 || counted == 0) && std::isfinite(share), "loss_scale is ", share,
        ", allowed is more than 0");
  // Ignored rows have no gradient at any scale but 0, which would ask for none.
  inputs.gradient_scale.as<float>()[0] =
      counted == 0 ? 1.0f : static_cast<float>(share / static_cast<double>(counted));
  auto* keys = static_cast<PhiloxKey*>(inputs.dropout_keys.data);
  for (int64_t i = 0; i < inputs.dropout_keys.shape[0]; ++i) {
    keys[i] = random_key(training.seed, training.step, kSiteDropout + static_cast<uint32_t>(i));
  }
}

Tensor words_of(std::vector<int32_t>& words) {
  return Tensor::of(words.data(), {static_cast<int64_t>(words.size())});
}

}  // namespace

void check_ids(const char* name, const Tensor& ids, int64_t end) {
  const auto* values = ids.as<int32_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    check(values[i] >= 0 && values[i] < end, name, " has ", values[i], " at [", i / ids.shape[1],
          ", ", i % ids.shape[1], "], allowed are 0 to ", end - 1);
  }
}

int64_t word_count(const Gpt2InputSizes& s) {
  const int64_t positions = s.batch * s.time;
  return 1 + 2 * s.dropouts + positions * (1 + s.has_positions + s.has_labels) +
         s.batch * (s.has_key_begin + s.has_key_end);
}

Gpt2Inputs inputs_in(const Tensor& words, const Gpt2InputSizes& s) {
  Cutter cut(words);
  Gpt2Inputs inputs;
  inputs.gradient_scale = cut.next({1}, DType::f32);
  inputs.dropout_keys = cut.next({s.dropouts, 2});
  inputs.tokens = cut.next({s.batch, s.time});
  inputs.positions = cut.next_if(s.has_positions, {s.batch, s.time});
  inputs.targets = cut.next_if(s.has_labels, {s.batch * s.time});
  inputs.padding.key_begin = cut.next_if(s.has_key_begin, {s.batch});
  inputs.padding.key_end = cut.next_if(s.has_key_end, {s.batch});
  return inputs;
}

Gpt2InputSizes sizes_of(const Gpt2Config& config, const Gpt2Batch& batch, bool is_training) {
  check(batch.tokens.rank() == 2 && batch.tokens.numel() >= 1, "tokens have shape ",
        batch.tokens.shape, ", allowed is [batch, time] with at least one of each");
  return {.batch = batch.tokens.shape[0],
          .time = batch.tokens.shape[1],
          .has_positions = batch.positions.has_data(),
          .has_key_begin = batch.padding.key_begin.has_data(),
          .has_key_end = batch.padding.key_end.has_data(),
          .has_labels = batch.labels.has_data(),
          .dropouts = is_training ? 1 + 3 * config.n_layer : 0};
}

void write_inputs(const Gpt2Inputs& inputs, const Gpt2Config& config, const Gpt2Batch& batch,
                  const Gpt2TrainingPass* training) {
  const Shape shape = inputs.tokens.shape;
  check(shape[1] <= config.n_positions, "the sequences have ", shape[1],
        " tokens, allowed are up to n_positions = ", config.n_positions);
  const auto write = [](const char* name, const Tensor& from, const Tensor& to) {
    if (!to.has_data()) return;
    check_contiguous(name, from, DType::i32, to.shape);
    copy_now(from, to);
  };
  write("tokens", batch.tokens, inputs.tokens);
  check_ids("tokens", inputs.tokens, config.vocab_size);
  write("positions", batch.positions, inputs.positions);
  if (inputs.positions.has_data()) check_ids("positions", inputs.positions, config.n_positions);
  write("key_begin", batch.padding.key_begin, inputs.padding.key_begin);
  write("key_end", batch.padding.key_end, inputs.padding.key_end);
  check_ends("key_begin", inputs.padding.key_begin, shape[1]);
  check_ends("key_end", inputs.padding.key_end, shape[1]);
  if (inputs.targets.has_data()) {
    check_contiguous("labels", batch.labels, DType::i32, shape);
    write_targets(batch.labels, inputs.targets, config.vocab_size);
  }
  if (training != nullptr) write_training(inputs, batch, *training);
}

Gpt2Inputs take_inputs(Context& ctx, const Gpt2Config& config, const Gpt2Batch& batch,
                       const Gpt2TrainingPass* training) {
  const Gpt2InputSizes sizes = sizes_of(config, batch, training != nullptr);
  std::vector<int32_t> words(word_count(sizes));
  const Tensor host = words_of(words);
  const Gpt2Inputs inputs = inputs_in(host, sizes);
  write_inputs(inputs, config, batch, training);
  const Tensor device = ctx.arena().allocate(MemoryUse::activations, DType::i32, host.shape);
  copy(ctx, host, device);
  return inputs_in(device, sizes);
}

}  // namespace strobe
