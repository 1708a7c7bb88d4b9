#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "strobe/data/bpe_added_tokens.h"
#include "strobe/data/bpe_merges.h"
#include "strobe/data/bpe_vocabulary.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

// GPT-2's tokenizer: added tokens are found first, the text between them is cut into words
// (pretokenizer.h), and the bytes of each word are merged (bpe_merges.h). The tokens are those of
// Hugging Face's `tokenizers`. Bytes that are not UTF-8, which that library does not take, are cut
// into words as if each were U+FFFD, and are the tokens of their own bytes.
class BpeTokenizer final : public Tokenizer {
 public:
  // Throws Error when the parts of the vocabulary do not fit together.
  explicit BpeTokenizer(BpeVocabulary vocabulary);
  ~BpeTokenizer() override;

  void encode_to(std::string_view text, SpecialNames special,
                 std::vector<int32_t>& tokens) const override;
  size_t find_cut(std::string_view text, size_t from) const override;
  std::string_view bytes_of(int32_t token) const override;
  bool is_special(int32_t token) const override;
  int32_t vocab_size() const override;
  int32_t end_of_text() const override;
  std::vector<File> files() const override { return bpe_files(vocabulary_); }

  const BpeVocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Worker;  // what one thread works with

  struct Token {
    int32_t id;
    bool is_special;
    std::string bytes;
  };

  std::unique_ptr<Worker> take_worker() const;
  void encode_plain(std::string_view text, Worker& worker, std::vector<int32_t>& tokens) const;
  const Token* find_token(int32_t id) const;

  BpeVocabulary vocabulary_;
  BpeMerges merges_;
  std::vector<AddedTokenFinder> finders_;  // one after the other
  std::vector<Token> tokens_;              // by rising id
  int32_t end_of_text_ = -1;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Worker>> idle_;
};

}  // namespace strobe
