#include "strobe/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "strobe/core/clock.h"
#include "strobe/core/parallel.h"
#include "strobe/data/hub.h"
#include "strobe/models/gpt2_files.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/train/checksum.h"
#include "strobe/train/schedule.h"

namespace strobe {
namespace {

static_assert(kNoLabel == kIgnoredLabel);

TrainingState begin_of(const TrainOptions& options) {
  if (options.resume.empty()) {
    return {.loss_scale = options.dtype == DType::f16 ? options.loss_scale : 1};
  }
  TrainingState state = read_training_state(options.resume);
  check_resumable(state, options);
  return state;
}

// A new model ends its texts as the tokenizer does.
Gpt2Config config_of(const TrainOptions& options, const Tokenizer& tokenizer) {
  Gpt2Config config = model_config(options);
  if (options.model.empty() && options.resume.empty()) {
    config.bos_token_id = config.eos_token_id = tokenizer.end_of_text();
  }
  return config;
}

// What the options ask for, else what the model's configuration does.
std::string attention_name(const TrainOptions& options, const Gpt2Config& config) {
  return options.attention == "any" ? config.attn_implementation : options.attention;
}

// The implementation that training will run.
std::string_view choose_attention(Context& ctx, const TrainOptions& options,
                                  const Gpt2Config& config) {
  const Context::Preference preference(ctx, "attention",
                                       attention_wish(attention_name(options, config)));
  const AttentionProblem problem = {.batch = options.batch,
                                    .seq_q = options.seq,
                                    .seq_k = options.seq,
                                    .heads_q = config.n_head,
                                    .heads_kv = config.n_head,
                                    .head_dim = config.head_dim(),
                                    .dtype = options.dtype,
                                    .mask = causal(),
                                    .has_dropout = options.dropout > 0,
                                    .has_padding = options.batching == Batching::padded,
                                    .needs_backward = true};
  return select_attention(ctx, problem).name;
}

// The context with as much memory as was planned.
Context& planned(Context& ctx, const MemoryPlan& plan) {
  ctx.arena().reserve(plan.bytes);
  return ctx;
}

// Views of a batch, which must outlive them.
Gpt2Batch views(Batch& batch, Batching batching) {
  const Shape shape = {batch.batch, batch.seq};
  Gpt2Batch result = {.tokens = Tensor::of(batch.tokens.data(), shape),
                      .labels = Tensor::of(batch.labels.data(), shape),
                      .padding = {}};
  if (batching == Batching::padded) {
    result.padding.key_end = Tensor::of(batch.lengths.data(), {batch.batch});
  }
  return result;
}

Schedule schedule_of(const TrainOptions& options) {
  return {.kind = options.schedule,
          .peak = options.learning_rate,
          .floor = options.min_learning_rate,
          .warmup = options.warmup,
          .steps = options.steps};
}

uint64_t checksum_of(const Batch& batch) {
  return checksum(std::as_bytes(std::span(batch.tokens)));
}

// The sign of a NaN means nothing and would be printed.
double without_nan_sign(double x) { return std::isnan(x) ? std::abs(x) : x; }

}  // namespace

bool StepMetrics::is_finite() const {
  return std::isfinite(loss) && (std::isfinite(grad_norm) || (is_skipped && loss_scale > 1));
}

Trainer::Trainer(const TrainOptions& options)
    : options_(options),
      begin_(begin_of(options)),
      data_(options),
      config_(config_of(options, data_.tokenizer())),
      device_(device_named(options.device)),
      plan_(plan_training(device_, config_, options, attention_name(options, config_))),
      ctx_(device_),
      model_(planned(ctx_, plan_), config_, options.dtype),
      attention_(choose_attention(ctx_, options, config_)),
      device_step_(ctx_, model_, options, begin_),
      step_(begin_.step),
      micro_batches_(begin_.micro_batches),
      loader_([this](int64_t number) { return data_.training_batch(number); }, micro_batches_) {
  check(options.min_learning_rate <= options.learning_rate, "min_learning_rate is ",
        options.min_learning_rate, ", allowed is up to learning_rate, ", options.learning_rate);
  const int64_t tokens = data_.tokenizer().vocab_size();
  check(tokens <= config_.vocab_size, "the tokenizer '", options.tokenizer, "' has ", tokens,
        " tokens, the model's vocab_size is ", config_.vocab_size);
  model_.set_attention(attention_name(options, config_));
  prepare(ctx_, options);
  start();
}

void Trainer::start() {
  if (options_.resume.empty()) {
    if (options_.model.empty()) {
      model_.initialize(ctx_, options_.seed);
    } else {
      load_weights(ctx_, model_, Gpt2Weights(resolve_model(options_.model)));
    }
    return;
  }
  check(checksum_of(data_.training_batch(micro_batches_)) == begin_.next_batch_checksum, "'",
        options_.data, "' is not the text that '", options_.resume, "' was trained on");
  load_checkpoint(ctx_, model_, options_.resume);
}

StepMetrics Trainer::step() {
  const Stopwatch watch;
  ++step_;
  std::vector<Batch> batches;
  int64_t predictions = 0;
  for (int64_t i = 0; i < options_.accumulation; ++i) {
    batches.push_back(loader_.next());
    predictions += batches.back().predictions;
  }
  std::vector<Gpt2Batch> views_of_batches;
  std::vector<Gpt2TrainingPass> passes;
  for (Batch& batch : batches) {
    views_of_batches.push_back(views(batch, options_.batching));
    const double share = static_cast<double>(batch.predictions) / static_cast<double>(predictions);
    passes.push_back({.seed = options_.seed,
                      .step = static_cast<uint64_t>(micro_batches_++),
                      .loss_scale = share});
  }
  StepMetrics metrics = {.step = step_,
                         .learning_rate = schedule_of(options_).at(step_),
                         .tokens = options_.accumulation * options_.batch * options_.seq};
  metrics.loss_scale = device_step_.loss_scale();
  const StepOutcome outcome = device_step_.run(views_of_batches, passes, metrics.learning_rate);
  metrics.loss = without_nan_sign(outcome.loss_sum / static_cast<double>(predictions));
  metrics.grad_norm = without_nan_sign(outcome.grad_norm);
  metrics.is_skipped = outcome.is_skipped;
  metrics.attention_ms = 1e3 * outcome.attention_seconds;
  metrics.step_ms = watch.ms();
  return metrics;
}

std::optional<Trainer::Validation> Trainer::validate() {
  const int64_t batches = std::min(options_.validation_batches, data_.validation_batches());
  if (batches == 0) return std::nullopt;
  Validation result;
  for (int64_t i = 0; i < batches; ++i) {
    Batch batch = data_.validation_batch(i);
    const auto predictions = static_cast<double>(batch.predictions);
    result.loss += predictions * model_.loss(ctx_, views(batch, options_.batching));
    result.predictions += batch.predictions;
  }
  result.loss /= static_cast<double>(result.predictions);
  return result;
}

SavedCheckpoint Trainer::save() {
  TrainingState state = {.step = step_,
                         .micro_batches = micro_batches_,
                         .next_batch_checksum = checksum_of(data_.training_batch(micro_batches_)),
                         .threads = thread_count(),
                         .options = options_};
  device_step_.save_to(state);
  return save_checkpoint(ctx_, model_, data_.tokenizer(), state, options_.out);
}

void Trainer::save_model(const std::string& folder) {
  save_gpt2(ctx_, model_, folder, DType::f32);
  save_tokenizer(data_.tokenizer(), folder);
}

}  // namespace strobe
