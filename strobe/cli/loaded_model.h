#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/data/tokenizer.h"
#include "strobe/models/gpt2.h"

namespace strobe {

// What --model names, ready to read and write text: a model for evaluation, and its tokenizer.
struct LoadedModel {
  Gpt2 model;
  std::unique_ptr<Tokenizer> tokenizer;

  // The token that ends a text: that of the configuration, where the vocabulary has it, else the
  // tokenizer's.
  int32_t end_of_text() const;
  // The bytes of a token: none for one that the model knows and the tokenizer does not.
  std::string_view bytes_of(int32_t token) const;
};

// `name` is a folder in the Hugging Face layout, or a model's name that `strobe fetch` has loaded.
// A folder without a tokenizer whose model has 257 tokens is read and written as bytes. Throws
// Error, naming what is missing or wrong.
LoadedModel load_model(Context& ctx, const std::string& name, DType dtype);

}  // namespace strobe
