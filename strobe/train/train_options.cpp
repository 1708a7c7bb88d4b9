#include "strobe/train/train_options.h"

#include <unistd.h>

#include "strobe/core/check.h"

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

}  // namespace

TrainOptions train_preset(std::string_view name) {
  if (name == "quick") return quick_preset();
  if (name == "lab") return lab_preset();
  if (name == "gpt2") return gpt2_preset();
  throw_error(fmt::format("preset is '{}', allowed are quick, lab, gpt2", name));
}

Gpt2Config model_config(const TrainOptions& options) {
  Gpt2Config config = {
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
  validate(config);
  check(options.seq <= options.n_positions, "seq is ", options.seq,
        ", allowed is up to n_positions, ", options.n_positions);
  return config;
}

}  // namespace strobe
