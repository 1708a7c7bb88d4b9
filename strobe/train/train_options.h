#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "strobe/core/dtype.h"
#include "strobe/core/options.h"
#include "strobe/data/dataset.h"
#include "strobe/models/gpt2_config.h"
#include "strobe/train/schedule.h"

namespace strobe {

inline constexpr OptionInfo kTf32Option = {
    .name = "tf32",
    .help =
        "on a GPU and with dtype f32: linear layers round their operands to tf32, 11 bits in "
        "place of 24, and are several times as fast"};
inline constexpr OptionInfo kDeterministicOption = {
    .name = "deterministic",
    .help =
        "the same losses to the bit each time, also on a GPU, where attention's backward takes "
        "longer for it"};

// Everything that decides a training run. The defaults are the preset "quick": a small model that
// learns real text in a minute or two on a CPU, at a length where attention matters.
struct TrainOptions {
  std::string preset = "quick";

  std::string model;  // to start from; empty: random weights
  int64_t n_layer = 4;
  int64_t n_head = 8;
  int64_t n_embd = 256;
  int64_t n_positions = 2048;
  int64_t vocab_size = 257;
  double dropout = 0.1;

  std::string tokenizer;  // its folder; empty: the bytes of the text are its tokens
  std::string data = "/usr/share/common-licenses/GPL-3";
  Batching batching = Batching::packed;
  int64_t batch = 1;
  int64_t seq = 2048;
  int64_t accumulation = 1;
  double validation_fraction = 0.1;
  int64_t validation_every = 0;
  int64_t validation_batches = 8;

  int64_t steps = 100;
  double learning_rate = 1e-3;
  ScheduleKind schedule = ScheduleKind::cosine;
  int64_t warmup = 20;
  double min_learning_rate = 0;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double clip = 1.0;
  double loss_scale = 65536;

  std::string device = "auto";
  DType dtype = DType::f32;
  std::string attention = "any";
  bool tf32 = false;
  bool deterministic = false;
  int64_t threads = 0;
  uint64_t seed = 1;
  std::string out = "out/train";

  int64_t save_every = 0;
  int64_t keep = 2;
  std::string save_model;  // a folder; empty: nowhere
  std::string resume;      // a checkpoint; empty: a new run

  // Compared runs share everything but the attention and where their results go.
  template <class Visitor>
  void visit_shared(Visitor&& visit) {
    visit_model(visit);
    visit_data(visit);
    visit_optimizer(visit);
    visit.group("Machine");
    visit(device, kDeviceOption);
    visit(dtype, {.name = "dtype", .help = "type of weights and activations; AdamW's copy is f32"},
          {DType::f32, DType::f16, DType::bf16});
    visit(tf32, kTf32Option);
    visit(deterministic, kDeterministicOption);
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(seed, {.name = "seed", .help = "of weights, order of the data, and dropout"});
  }

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit_shared(visit);
    visit(attention,
          {.name = "attention",
           .unit = "NAME",
           .help = "standard, flash, any (whichever is faster here), or an implementation "
                   "that `strobe info` lists"});
    visit(out, {.name = "out",
                .unit = "DIR",
                .help = "folder of metrics.jsonl and checkpoints, made where missing"});
    visit.group("Checkpoints");
    visit(save_every, {.name = "save_every",
                       .unit = "steps",
                       .help = "between checkpoints, OUT/checkpoint-STEP, and one at the end, also "
                               "by Ctrl-C; 0: none",
                       .min = 0});
    visit(keep, {.name = "keep", .help = "newest checkpoints that stay", .min = 1});
    visit(resume, {.name = "resume",
                   .unit = "DIR",
                   .help = "go on from a checkpoint, or from the newest one of a run's folder, "
                           "with its options (docs/train.md says which may change)"});
    visit(save_model, {.name = "save_model",
                       .unit = "DIR",
                       .help = "write the last weights there, with the tokenizer, as Hugging Face "
                               "reads them"});
  }

  template <class Visitor>
  void visit_model(Visitor&& visit) {
    visit.group("Model");
    visit(preset, {.name = "preset",
                   .unit = "NAME",
                   .help = "defaults of all other options: quick (a small model), lab (6 layers of "
                           "768, 50 steps), gpt2 (the 124M model)"});
    visit(model, {.name = "model",
                  .unit = "NAME|DIR",
                  .help = "start from its weights: a folder, or a name that `strobe fetch` loaded; "
                          "its shape and tokenizer are the defaults then"});
    visit(n_layer, {.name = "n_layer", .help = "blocks", .min = 1});
    visit(n_head, {.name = "n_head", .help = "attention heads; divides n-embd", .min = 1});
    visit(n_embd, {.name = "n_embd", .help = "width of the residual stream", .min = 1});
    visit(n_positions,
          {.name = "n_positions", .help = "longest sequence the model can read", .min = 1});
    visit(vocab_size, {.name = "vocab_size",
                       .help = "token ids; bytes need 257, one of them for the end of a text",
                       .min = 1,
                       .max = 1 << 24});
    visit(dropout, {.name = "dropout",
                    .help = "probability, applied in steps of 1/256",
                    .min = 0,
                    .max = 1,
                    .below_max = true});
  }

 private:
  template <class Visitor>
  void visit_data(Visitor&& visit) {
    visit.group("Data");
    visit(data,
          {.name = "data",
           .unit = "FILE",
           .help = "text to learn, any bytes; `lab`: the built-in 300 quick-brown-fox samples"});
    visit(tokenizer,
          {.name = "tokenizer",
           .unit = "DIR",
           .help = "folder of a tokenizer's files; without one, that of the model, or the "
                   "bytes of the text"});
    visit(batching,
          {.name = "batching",
           .help = "packed: windows of the text; padded: each line by itself, cut or filled "
                   "up to seq"},
          {Batching::packed, Batching::padded});
    visit(batch, {.name = "batch", .unit = "sequences", .help = "size of a micro-batch", .min = 1});
    visit(seq, {.name = "seq", .unit = "tokens", .help = "length of a sequence", .min = 2});
    visit(accumulation,
          {.name = "accumulation", .unit = "micro-batches", .help = "in a step", .min = 1});
    visit(validation_fraction, {.name = "validation_fraction",
                                .help = "share of the data, its end, that is not trained on",
                                .min = 0,
                                .max = 1,
                                .below_max = true});
    visit(validation_every, {.name = "validation_every",
                             .unit = "steps",
                             .help = "between validations; 0: at the end only",
                             .min = 0});
    visit(validation_batches, {.name = "validation_batches",
                               .help = "of one validation, at most; 0: no validation",
                               .min = 0});
  }

  template <class Visitor>
  void visit_optimizer(Visitor&& visit) {
    visit.group("Optimizer (AdamW)");
    visit(steps, {.name = "steps", .help = "optimizer steps", .min = 1});
    visit(learning_rate,
          {.name = "learning_rate", .help = "the highest of the schedule", .min = 0});
    visit(schedule, {.name = "schedule", .help = "of the learning rate after warm-up"},
          {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine});
    visit(warmup, {.name = "warmup", .unit = "steps", .help = "of linear rise", .min = 0});
    visit(min_learning_rate, {.name = "min_learning_rate", .help = "where decay ends", .min = 0});
    visit(weight_decay, {.name = "weight_decay", .help = "of matrices", .min = 0});
    visit(beta1,
          {.name = "beta1", .help = "of the first moment", .min = 0, .max = 1, .below_max = true});
    visit(beta2,
          {.name = "beta2", .help = "of the second moment", .min = 0, .max = 1, .below_max = true});
    visit(epsilon, {.name = "epsilon", .help = "of AdamW", .min = 1e-16});
    visit(clip, {.name = "clip", .help = "largest gradient norm; 0: no clipping", .min = 0});
    visit(loss_scale, {.name = "loss_scale",
                       .help = "what training in f16 begins with: the loss is multiplied by it, so "
                               "that small gradients are not lost; it halves when one overflows, "
                               "and doubles after 2000 steps",
                       .min = 1});
  }
};

// The options of a preset by its name; throws Error, listing the names, when there is none.
TrainOptions train_preset(std::string_view name);

// Takes the shape, dropout and tokenizer of a model, by its folder or name, as defaults for
// training on, and a learning rate and a sequence length that are not too large for it.
void start_from_model(TrainOptions& options, const std::string& name);

// The model that the options describe; the checkpoint's or the given model's where there is one.
// Throws Error when the fields do not fit together.
Gpt2Config model_config(const TrainOptions& options);

}  // namespace strobe
