#include "strobe/train/training_step.h"

#include <bit>
#include <numeric>

#include "strobe/ops/grad_norm/grad_norm.h"

namespace strobe {
namespace {

// Where the numbers of a step lie in `numbers_`. The first four go on from step to step.
enum Number : int64_t {
  kLossScale,
  kFiniteSteps,
  kStepsTaken,
  kStepsSkipped,
  kNorm,
  kUnscaledNorm,
  kGradientScale,
  kIsSkipped,
  kNumbers,
};

constexpr int kGrowthInterval = 2000;  // as PyTorch's GradScaler

Gpt2InputSizes sizes_of(const Gpt2Config& config, const TrainOptions& options) {
  return {.batch = options.batch,
          .time = options.seq,
          .has_key_end = options.batching == Batching::padded,
          .has_labels = true,
          .dropouts = 1 + 3 * config.n_layer};
}

constexpr int64_t kWordBytes = 4;

}  // namespace

TrainingStep::TrainingStep(Context& ctx, Gpt2& model, const TrainOptions& options,
                           const TrainingState& begin)
    : ctx_(ctx),
      model_(model),
      config_(model.config()),
      sizes_(sizes_of(config_, options)),
      micro_batches_(options.accumulation),
      host_losses_(ctx, options.accumulation * options.batch * options.seq * kWordBytes),
      host_numbers_(ctx, kNumbers * kWordBytes) {
  const int64_t words = word_count(sizes_) + 1;
  words_ = ctx.arena().allocate(MemoryUse::activations, DType::i32, {words});
  inputs_ = inputs_in(words_, sizes_);
  losses_ = ctx.arena().allocate(MemoryUse::activations, DType::f32, {options.batch * options.seq});
  numbers_ = ctx.arena().allocate(MemoryUse::optimizer, DType::i32, {kNumbers});
  for (int64_t i = 0; i < micro_batches_; ++i) {
    host_words_.push_back(std::make_unique<HostBuffer>(ctx, words * kWordBytes));
  }
  model.for_each_parameter([&](Parameter& p) {
    gradients_.push_back(p.grad);
    parameters_.push_back(p.for_adamw());
  });

  const auto whole = [&](const Tensor& from, int64_t i) { return from.slice(0, i, i + 1); };
  const auto real = [&](const Tensor& from, int64_t i) {
    Tensor number = whole(from, i);
    number.dtype = DType::f32;
    return number;
  };
  scaler_ = {.norm = real(numbers_, kNorm),
             .state = {.loss_scale = real(numbers_, kLossScale),
                       .finite_steps = whole(numbers_, kFiniteSteps),
                       .steps_taken = whole(numbers_, kStepsTaken),
                       .steps_skipped = whole(numbers_, kStepsSkipped)},
             .unscaled_norm = real(numbers_, kUnscaledNorm),
             .gradient_scale = real(numbers_, kGradientScale),
             .is_skipped = whole(numbers_, kIsSkipped),
             .max_norm = static_cast<float>(options.clip),
             .growth_interval = options.dtype == DType::f16 ? kGrowthInterval : 0};
  optimizer_ = {.learning_rate = real(words_, words - 1),
                .gradient_scale = scaler_.gradient_scale,
                .step = scaler_.state.steps_taken,
                .is_skipped = scaler_.is_skipped,
                .beta1 = static_cast<float>(options.beta1),
                .beta2 = static_cast<float>(options.beta2),
                .epsilon = static_cast<float>(options.epsilon),
                .weight_decay = static_cast<float>(options.weight_decay)};

  const Tensor host = host_numbers_.tensor(DType::i32, {kNumbers});
  auto* numbers = host.as<int32_t>();
  std::fill_n(numbers, kNumbers, 0);
  numbers[kLossScale] = std::bit_cast<int32_t>(static_cast<float>(begin.loss_scale));
  numbers[kFiniteSteps] = static_cast<int32_t>(begin.finite_steps);
  numbers[kStepsTaken] = static_cast<int32_t>(begin.step - begin.skipped_steps);
  numbers[kStepsSkipped] = static_cast<int32_t>(begin.skipped_steps);
  copy(ctx, host, numbers_);
}

void TrainingStep::compute_gradients(bool accumulate) {
  model_.forward_backward(ctx_, inputs_, losses_, accumulate);
}

void TrainingStep::update() {
  grad_norm(ctx_, gradients_, scaler_.norm);
  update_grad_scaler(ctx_, scaler_);
  adamw(ctx_, parameters_, optimizer_);
}

void TrainingStep::plan() {
  compute_gradients(false);
  update();
}

StepOutcome TrainingStep::run(std::span<const Gpt2Batch> batches,
                              std::span<const Gpt2TrainingPass> passes, double learning_rate) {
  // A recorded pass has no times of its parts: attention's is that of the second step, which is not
  // recorded. The first one loads kernels.
  constexpr int64_t kTimedStep = 2;
  const int64_t step = ++steps_run_;
  const double attention_before = ctx_.seconds_in("attention");
  ctx_.set_timing(step == kTimedStep);
  const int64_t words = words_.numel(), positions = losses_.numel();
  for (int64_t i = 0; i < micro_batches_; ++i) {
    const Tensor host = host_words_[i]->tensor(DType::i32, {words});
    Gpt2TrainingPass pass = passes[i];
    pass.loss_scale *= loss_scale();
    write_inputs(inputs_in(host, sizes_), config_, batches[i], &pass);
    host.as<int32_t>()[words - 1] = std::bit_cast<int32_t>(static_cast<float>(learning_rate));
    copy(ctx_, host, words_);
    // A graph records what it runs for the second time: not in the timed step.
    if (step < kTimedStep || (step == kTimedStep && i > 1)) {
      compute_gradients(i > 0);
    } else {
      (i == 0 ? first_pass_ : further_pass_).run(ctx_, [&] { compute_gradients(i > 0); });
    }
    copy(ctx_, losses_, host_losses_.tensor(DType::f32, {positions}, i * positions * kWordBytes));
  }
  update_.run(ctx_, [&] { update(); });
  copy(ctx_, numbers_, host_numbers_.tensor(DType::i32, {kNumbers}));
  ctx_.synchronize();

  const double attention = ctx_.seconds_in("attention") - attention_before;
  if (attention > 0) attention_seconds_ = attention;
  const auto* losses = host_losses_.tensor(DType::f32, {micro_batches_ * positions}).as<float>();
  const auto* numbers = host_numbers_.tensor(DType::i32, {kNumbers}).as<int32_t>();
  return {.loss_sum = std::accumulate(losses, losses + micro_batches_ * positions, 0.0),
          .grad_norm = std::bit_cast<float>(numbers[kUnscaledNorm]),
          .is_skipped = numbers[kIsSkipped] != 0,
          .attention_seconds = attention_seconds_};
}

double TrainingStep::loss_scale() const {
  return host_numbers_.tensor(DType::f32, {kNumbers}).as<float>()[kLossScale];
}

int64_t TrainingStep::skipped_steps() const {
  return host_numbers_.tensor(DType::i32, {kNumbers}).as<int32_t>()[kStepsSkipped];
}

void TrainingStep::save_to(TrainingState& state) const {
  const auto* numbers = host_numbers_.tensor(DType::i32, {kNumbers}).as<int32_t>();
  state.loss_scale = loss_scale();
  state.finite_steps = numbers[kFiniteSteps];
  state.skipped_steps = numbers[kStepsSkipped];
}

void check_can_train(const Device& device, const TrainOptions& options) {
  check_can_train(device, options.dtype);
  check(!options.tf32 || (device.kind == DeviceKind::cuda && options.dtype == DType::f32),
        "tf32 is asked for with ", options.dtype, " on ", device, ", allowed is f32 on a GPU");
}

void prepare(Context& ctx, const TrainOptions& options) {
  check_can_train(ctx.device(), options);
  ctx.set_deterministic(options.deterministic);
  if (options.tf32) ctx.prefer("linear", {.implementation = "cuda_tf32"});
}

MemoryPlan plan_training(const Device& device, const Gpt2Config& config,
                         const TrainOptions& options, std::string_view attention) {
  MemoryPlan plan;
  if (device.kind == DeviceKind::cpu) return plan;
  Context ctx(device, {.is_planning = true});
  prepare(ctx, options);
  Gpt2 model(ctx, config, options.dtype);
  model.set_attention(attention);
  TrainingStep(ctx, model, options, {}).plan();
  plan.report = ctx.arena().report();
  plan.bytes = ctx.arena().high_water_bytes();
  plan.free_bytes = free_memory_bytes(device);
  const int64_t limit = Arena::options_from_environment().limit_bytes;
  check_fits(plan, limit == 0 ? plan.free_bytes : std::min(limit, plan.free_bytes), device,
             attention);
  return plan;
}

void check_fits(const MemoryPlan& plan, int64_t allowed_bytes, const Device& device,
                std::string_view attention) {
  if (plan.bytes <= allowed_bytes) return;
  std::string parts;
  for (int use = 0; use < kMemoryUses; ++use) {
    const int64_t bytes = plan.report.at_peak_bytes[use];
    if (bytes > 0) {
      parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", static_cast<MemoryUse>(use),
                           bytes >> 20);
    }
  }
  throw OutOfMemory(fmt::format("out of memory: a training step needs {} MiB ({}), {} has {} MiB; "
                                "try a smaller batch with more accumulation, a shorter seq{}",
                                plan.bytes >> 20, parts, device, allowed_bytes >> 20,
                                attention == "flash" ? "" : ", or attention flash"),
                    "");
}

}  // namespace strobe
