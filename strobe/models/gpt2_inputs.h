#pragma once

#include <cstdint>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"
#include "strobe/models/gpt2.h"

namespace strobe {

// What a batch has, and so what a pass over it reads.
struct Gpt2InputSizes {
  int64_t batch = 0, time = 0;  // B, T
  bool has_positions = false, has_key_begin = false, has_key_end = false;
  bool has_labels = false;
  int64_t dropouts = 0;  // of the model: 1 + 3·n_layer in training, else 0
};

// The inputs of a pass, views of one run of 32-bit words, of which there is a copy in host memory
// and one on the device.
struct Gpt2Inputs {
  Tensor gradient_scale;     // f32 [1]: what the sum of all positions' losses is multiplied by
  Tensor dropout_keys;       // i32 [dropouts, 2]: a PhiloxKey for each dropout of the model
  Tensor tokens;             // i32 [B, T]
  Tensor positions;          // i32 [B, T], or absent
  Tensor targets;            // i32 [B·T]: what each position predicts, or kIgnoredLabel
  AttentionPadding padding;  // key_begin and key_end, i32 [B], or absent
};

int64_t word_count(const Gpt2InputSizes& sizes);
// The inputs in `words`, i32 [word_count()] or longer.
Gpt2Inputs inputs_in(const Tensor& words, const Gpt2InputSizes& sizes);

Gpt2InputSizes sizes_of(const Gpt2Config& config, const Gpt2Batch& batch, bool is_training);
// Sets the inputs, which are in host memory. `training` may be null. Throws Error when the batch
// does not fit the model.
void write_inputs(const Gpt2Inputs& inputs, const Gpt2Config& config, const Gpt2Batch& batch,
                  const Gpt2TrainingPass* training);

// Throws Error unless every element of ids, i32 [B, T] in host memory, is in [0, end).
void check_ids(const char* name, const Tensor& ids, int64_t end);

// All of that at once, in memory of the arena.
Gpt2Inputs take_inputs(Context& ctx, const Gpt2Config& config, const Gpt2Batch& batch,
                       const Gpt2TrainingPass* training);

}  // namespace strobe
