#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_weights.h"

namespace strobe {

// GPT-2 as Hugging Face's transformers keeps it: a folder with config.json and the weights.
// strobe/models/gpt2_weights.h says what is read; the Errors are those of its functions.

// Reads a model. `dtype` is that of the model, whatever the files have; f16 is for evaluation only.
Gpt2 load_gpt2(Context& ctx, const std::string& folder, DType dtype, bool is_trainable);

// Sets the parameters of a model that is there. Throws Error when one has another shape.
void load_weights(Context& ctx, Gpt2& model, const Gpt2Weights& weights);

struct Gpt2FileFormat {
  DType dtype = DType::f32;                  // f32, f16 or bf16, of all parameters
  std::string_view prefix = "transformer.";  // of the names; "" as in the files of the first GPT-2
  // More bytes of tensors than this are cut into several files with an index; a tensor stays whole.
  int64_t max_shard_bytes = int64_t{5} * 1000 * 1000 * 1000;
};

// Writes config.json and the weights into a folder, made where missing, as transformers reads them.
// Each file is replaced as a whole; weights of an earlier model there are removed at the end.
// Throws Error, naming the file, when one cannot be written.
void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, const Gpt2FileFormat& format);
void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, DType file_dtype);

// The same from folder to folder, one parameter after another: little memory for any model. Of
// config.json, all is kept but the type and attention's name. Throws Error when both are the same
// folder.
void convert_gpt2(Context& ctx, const std::string& from, const std::string& to,
                  const Gpt2FileFormat& format);

}  // namespace strobe
