#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/data/tokenizer.h"

namespace strobe {

// What the files of a byte-level BPE say: GPT-2's kind of tokenizer (Radford et al., "Language
// models are unsupervised multitask learners", 2019). Tokens are byte strings. Files write each
// byte as a character that can be seen: the printable ones of Latin-1 stand for themselves, the
// others for U+0100 and on, in order, so that a space is "Ġ" (U+0120).

// A token that is found in the text as it stands, before anything else happens to the text.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool is_special = true;      // left out where a decoder skips special tokens
  bool strips_left = false;    // takes the white space before it along
  bool strips_right = false;   // and after it
  bool is_normalized = false;  // is found after those that are not

  bool operator==(const AddedToken&) const = default;
};

struct BpeVocabulary {
  struct Token {
    std::string name;  // as files write it
    int32_t id;
    bool operator==(const Token&) const = default;
  };
  struct Merge {
    int32_t left, right;
    bool operator==(const Merge&) const = default;
  };

  std::vector<Token> tokens;  // by rising id, all different; the added ones are among them
  std::vector<Merge> merges;  // the first is done first
  std::vector<AddedToken> added;
  bool adds_prefix_space = false;  // encode " text" for "text"

  bool operator==(const BpeVocabulary&) const = default;
};

// The name of a token of these bytes, and back; nothing when a character stands for no byte.
std::string bpe_name(std::string_view bytes);
std::optional<std::string> bytes_of_bpe_name(std::string_view name);

// From the text of a tokenizer.json, or of vocab.json and merges.txt (where the end of text, if
// there is one, is the added token). Throw Error when it is not one, or describes another kind of
// tokenizer. What a tokenizer.json says about truncation and padding is what a program did with
// it last; whoever wants them asks for them (token_batch.h).
BpeVocabulary parse_tokenizer_json(std::string_view text);
BpeVocabulary parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt);

// tokenizer.json, vocab.json, merges.txt and tokenizer_config.json.
std::vector<Tokenizer::File> bpe_files(const BpeVocabulary& vocabulary);

}  // namespace strobe
