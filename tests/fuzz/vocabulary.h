#pragma once

#include <string>
#include <string_view>

#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/bpe_vocabulary.h"
#include "tests/fuzz/fuzz.h"

namespace strobe::testing {

// A vocabulary that a reader accepted: a tokenizer, if there is one, encodes and decodes with it,
// and its files say the same again.
inline void use_vocabulary(const BpeVocabulary& vocabulary) {
  if (is_refused([&] { const BpeTokenizer tokenizer(vocabulary); })) return;
  const BpeTokenizer tokenizer(vocabulary);
  for (const std::string_view text : {"", "a b", " \xc3\xa9\xff\n\n It's 12<|endoftext|> "}) {
    is_refused([&] {
      const std::vector<int32_t> tokens = tokenizer.encode(text);
      for (const int32_t token : tokens) {
        require(token >= 0 && token < tokenizer.vocab_size(), "tokens are in the vocabulary");
      }
      tokenizer.decode_without_special(tokens);
    });
  }
  const std::vector<Tokenizer::File> files = tokenizer.files();
  BpeVocabulary again;
  require(!is_refused([&] { again = parse_tokenizer_json(files.at(0).content); }),
          "what is written can be read");
  require(again == tokenizer.vocabulary(), "and is the same");
}

}  // namespace strobe::testing
