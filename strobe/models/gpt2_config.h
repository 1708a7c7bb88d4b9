#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace strobe {

// GPT-2's shape and settings, with the names and defaults of Hugging Face's config.json: the
// defaults are GPT-2 small, 124,439,808 parameters.
struct Gpt2Config {
  int64_t vocab_size = 50257;
  int64_t n_positions = 1024;  // the longest sequence
  int64_t n_embd = 768;        // C, the width of the residual stream
  int64_t n_layer = 12;
  int64_t n_head = 12;
  std::optional<int64_t> n_inner;  // width of the feed-forward part; absent: 4·n_embd
  std::string activation_function = "gelu_new";
  double layer_norm_epsilon = 1e-5;
  double initializer_range = 0.02;  // deviation of the first weights
  double resid_pdrop = 0.1;         // dropout after both projections of a block
  double embd_pdrop = 0.1;          // dropout after the embedding
  double attn_pdrop = 0.1;          // dropout of the attention probabilities
  int64_t bos_token_id = 50256;
  int64_t eos_token_id = 50256;
  bool tie_word_embeddings = true;
  // "any", "standard", "flash", or one implementation by name. transformers' own words are read as
  // what they do: "eager" as standard, "sdpa" and "flash_attention_2" as flash.
  std::string attn_implementation = "any";

  int64_t head_dim() const { return n_embd / n_head; }
  int64_t inner_dim() const { return n_inner.value_or(4 * n_embd); }

  bool operator==(const Gpt2Config& other) const = default;
};

// Throws Error, naming the field, its value and what is allowed, unless Strobe can run the model.
void validate(const Gpt2Config& config);

// Reads a config.json and validates it. Fields that it lacks or that are null keep their defaults,
// fields that do not concern the model are passed over. Throws Error when the text is not JSON, a
// field has the wrong type, or one that chooses GPT-2's mathematics has a value that Strobe does
// not implement.
Gpt2Config gpt2_config_from_json(std::string_view text);

// The fields above with "model_type": "gpt2", indented, in the order of the structure, as
// transformers reads them too: so attention is "eager" or "sdpa" (or absent: any), whichever
// implementation it names.
std::string to_json(const Gpt2Config& config);

}  // namespace strobe
