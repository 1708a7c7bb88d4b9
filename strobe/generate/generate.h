#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/models/gpt2.h"
#include "strobe/ops/sample/sample.h"

namespace strobe {

struct GenerateOptions {
  int64_t max_new_tokens = 64;  // of each sequence
  SamplerOptions sampler;
  int32_t end_of_text = -1;  // the token that ends a sequence; -1: none does
  bool use_cache = true;     // false: compute every position again for each token
  // Where a sequence would pass n_positions: false is an Error before anything is computed, true
  // goes on from the newest half (window_begin).
  bool is_sliding = false;
};

// What happens while it goes on; each may be absent.
struct GenerateEvents {
  std::function<void(int64_t sequence, int32_t token)> token;  // the token that ends one included
  std::function<bool()> should_stop;                           // asked after each round of tokens
};

struct GeneratedSequence {
  std::vector<int32_t> tokens;  // the new ones, without the one that ended it
  bool is_ended = false;        // by end_of_text, else by max_new_tokens or should_stop
};

struct GenerateResult {
  std::vector<GeneratedSequence> sequences;  // in the order of the prompts
  double prefill_ms = 0;                     // all prompts, to their first tokens
  std::vector<double> token_ms;  // each further round: one token of every sequence at work
  int64_t tokens = 0;            // drawn in all, end_of_text included
  int64_t cache_bytes = 0;

  double decode_ms() const;
  double tokens_per_s() const;  // of the rounds after the first; 0 if there was none
};

// Continues each prompt. A prompt that is empty starts from end_of_text. A sequence's tokens are a
// function of its prompt and the options alone, up to rounding: not of the other prompts, nor of
// the cache. Throws Error, before anything is computed, when a token is outside the vocabulary, a
// sequence would pass n_positions, a prompt is empty and there is no end_of_text, or an option is
// out of range; and later, when the model's logits are not finite.
//
// With a cache, a GPU is at the next round of tokens while the host looks at one: what should_stop
// or an end of text makes needless of it, is thrown away.
GenerateResult generate(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
                        const GenerateOptions& options, const GenerateEvents& events = {});

// Where the window of a sequence of `length` tokens begins. Tokens are read one after the other;
// when one more would not fit into n_positions, the window keeps the newest n_positions / 2 (at
// least one), that token included.
int64_t window_begin(int64_t length, int64_t n_positions);

}  // namespace strobe
