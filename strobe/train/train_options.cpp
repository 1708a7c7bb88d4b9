#include "strobe/train/train_options.h"

#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "strobe/core/check.h"
#include "strobe/data/hub.h"
#include "strobe/models/gpt2_weights.h"

namespace strobe {
namespace {

// A real text that every Debian has; without it, what is built in.
std::string readable(const std::string& path) {
  return access(path.c_str(), R_OK) == 0 ? path : "lab";
}

TrainOptions quick_preset() {
  TrainOptions options;
  options.data = readable(options.data);
  return options;
}

// The experiment of the lab: GPT-2 with 6 layers on 300 padded samples of one sentence.
TrainOptions lab_preset() {
  TrainOptions options;
  options.preset = "lab";
  options.n_layer = 6;
  options.n_head = 12;
  options.n_embd = 768;
  options.n_positions = 1024;
  options.vocab_size = 50257;
  options.data = "lab";
  options.batching = Batching::padded;
  options.batch = 4;
  options.seq = 512;
  options.steps = 50;
  options.learning_rate = 5e-5;
  options.schedule = ScheduleKind::constant;
  options.warmup = 0;
  options.weight_decay = 0.01;
  return options;
}

// GPT-2 small, 124,439,808 parameters.
TrainOptions gpt2_preset() {
  TrainOptions options;
  options.preset = "gpt2";
  options.n_layer = 12;
  options.n_head = 12;
  options.n_embd = 768;
  options.n_positions = 1024;
  options.vocab_size = 50257;
  options.data = readable(options.data);
  options.seq = 1024;
  options.steps = 20;
  options.learning_rate = 6e-4;
  options.warmup = 5;
  options.beta2 = 0.95;
  return options;
}

Gpt2Config given_config(const TrainOptions& options, const std::string& name) {
  Gpt2Config config = load_gpt2_config(resolve_model(name));
  for (const auto& [field, ours, given] : {
           std::tuple{"n_layer", options.n_layer, config.n_layer},
           {"n_head", options.n_head, config.n_head},
           {"n_embd", options.n_embd, config.n_embd},
           {"n_positions", options.n_positions, config.n_positions},
           {"vocab_size", options.vocab_size, config.vocab_size},
       }) {
    check(ours == given, field, " is ", ours, ", the model '", name, "' has ", given);
  }
  // A configuration may have three different ones; they stay unless another one is asked for.
  if (options.dropout != config.resid_pdrop) {
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = options.dropout;
  }
  return config;
}

Gpt2Config new_config(const TrainOptions& options) {
  return {
      .vocab_size = options.vocab_size,
      .n_positions = options.n_positions,
      .n_embd = options.n_embd,
      .n_layer = options.n_layer,
      .n_head = options.n_head,
      .resid_pdrop = options.dropout,
      .embd_pdrop = options.dropout,
      .attn_pdrop = options.dropout,
      .bos_token_id = options.vocab_size - 1,
      .eos_token_id = options.vocab_size - 1,
  };
}

}  // namespace

TrainOptions train_preset(std::string_view name) {
  if (name == "quick") return quick_preset();
  if (name == "lab") return lab_preset();
  if (name == "gpt2") return gpt2_preset();
  throw_error(fmt::format("preset is '{}', allowed are quick, lab, gpt2", name));
}

void start_from_model(TrainOptions& options, const std::string& name) {
  constexpr double kGentleRate = 5e-5;  // of fine-tuning in Hugging Face's Trainer
  const std::string folder = resolve_model(name);
  const Gpt2Config config = load_gpt2_config(folder);
  options.model = name;
  options.tokenizer = folder;
  options.n_layer = config.n_layer;
  options.n_head = config.n_head;
  options.n_embd = config.n_embd;
  options.n_positions = config.n_positions;
  options.vocab_size = config.vocab_size;
  options.dropout = config.resid_pdrop;
  options.seq = std::min(options.seq, config.n_positions);
  options.learning_rate = std::min(options.learning_rate, kGentleRate);
  options.min_learning_rate = std::min(options.min_learning_rate, options.learning_rate);
}

Gpt2Config model_config(const TrainOptions& options) {
  const std::string& given = options.resume.empty() ? options.model : options.resume;
  const Gpt2Config config = given.empty() ? new_config(options) : given_config(options, given);
  validate(config);
  check(options.seq <= options.n_positions, "seq is ", options.seq,
        ", allowed is up to n_positions, ", options.n_positions);
  return config;
}

}  // namespace strobe
