#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/data/tokenizer.h"
#include "strobe/models/gpt2.h"
#include "strobe/train/train_options.h"

namespace strobe {

// A checkpoint is a folder RUN/checkpoint-STEP with all that a run needs to go on as if it had
// never stopped. It appears as a whole or not at all (AtomicFolder).
//
//   config.json, model.safetensors   the weights in f32, as Hugging Face's transformers reads them
//   tokenizer.json, …                the tokenizer's files, likewise
//   optimizer.safetensors            AdamW's moments, f32: "<parameter>.m" and "<parameter>.v"
//   training.json                    the TrainingState below, and size and checksum of the others
//
// Learning rates are a function of options and step, random numbers of seed and counters: so the
// schedule's place is the step, and the random state the number of micro-batches.

struct TrainingState {
  int64_t step = 0;                  // the last that was done
  int64_t micro_batches = 0;         // done: the place in the data, and of dropout's numbers
  uint64_t next_batch_checksum = 0;  // of the tokens that come next: whether it is still that text
  double loss_scale = 1;             // of the next step
  int64_t finite_steps = 0;          // since loss_scale last changed
  int64_t skipped_steps = 0;         // of `step`: their gradients were not finite
  int threads = 0;
  TrainOptions options;
};

// What a checkpoint took.
struct SavedCheckpoint {
  std::string path;
  int64_t bytes = 0;
  double ms = 0;
};

// Writes RUN/checkpoint-STEP, then removes the oldest ones but `keep`. An Error, such as of a full
// disk, leaves those that were there before as they were.
SavedCheckpoint save_checkpoint(Context& ctx, Gpt2& model, const Tokenizer& tokenizer,
                                const TrainingState& state, const std::string& run_folder);

// The checkpoints of a run's folder, oldest first; none where there is no such folder.
std::vector<std::string> checkpoints_of(const std::string& run_folder);

// The checkpoint that a path means: itself, or the newest one of a run's folder. Throws Error when
// it is neither.
std::string checkpoint_at(const std::string& path);

// The options with which a run goes on from checkpoint_at(path): those that it was saved with, in
// the folder where the checkpoint lies, and with its copy of the tokenizer.
TrainOptions options_to_resume(const std::string& path);

// The state in a checkpoint's training.json. Throws Error when the file is missing, damaged, or of
// a newer format.
TrainingState read_training_state(const std::string& checkpoint);

// Throws Error unless all files are there, with the size and checksum that they were saved with.
void check_checkpoint(const std::string& checkpoint);

// Throws Error when a run with these options cannot go on from that state: an option differs that
// may not, or no step is left.
void check_resumable(const TrainingState& state, const TrainOptions& options);

// Sets weights and moments of a trainable model to those of the checkpoint. Throws Error when a
// file is missing or damaged, or does not fit the model.
void load_checkpoint(Context& ctx, Gpt2& model, const std::string& checkpoint);

}  // namespace strobe
