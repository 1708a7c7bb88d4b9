#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "strobe/data/bpe_vocabulary.h"
#include "strobe/data/long_text.h"

namespace strobe {

// How often each word (pretokenizer.h) comes in texts.
class WordCounts {
 public:
  // Counts on all threads; the names of the end of text between words are left out. False when
  // `progress`, which may be empty, stopped it.
  bool add(const LongText& text, const LongText::Progress& progress = {});

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  using Map = std::unordered_map<std::string, int64_t, Hash, std::equal_to<>>;
  const Map& counts() const { return counts_; }

 private:
  Map counts_;
};

struct BpeTrainingOptions {
  int64_t vocab_size = 0;  // with the 256 bytes and the end of text; what is reached may be smaller
  int64_t min_count = 2;   // a pair that comes less often is not merged
  std::function<bool(int64_t tokens)> progress;  // as above, with the size of the vocabulary so far
};

// Learns a vocabulary: the pair of neighbours that comes most often in all words becomes a token,
// again and again (of equal ones, that of the smaller ids), as Hugging Face's BpeTrainer does. Ids
// are GPT-2's: the bytes by their names' characters, tokens as they were learned, the end of text.
// The same words give the same vocabulary, on any number of threads. Throws Error when vocab_size
// is less than 257; returns an empty vocabulary when it was stopped.
BpeVocabulary train_bpe(const WordCounts& words, const BpeTrainingOptions& options);

}  // namespace strobe
