#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

// Text to token ids and back.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Any bytes are text: what is not UTF-8 has tokens too, and decode(encode(text)) == text.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  // Throws Error when an id is outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual int32_t end_of_text() const = 0;  // ends a sample, and fills up shorter ones
};

// One token for each byte, the byte's value; end of text is the last id of the vocabulary. The
// smallest vocabulary is 257; ids between 256 and the last, in a larger one, never occur.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kSmallestVocab = 257;

  explicit ByteTokenizer(int64_t vocab_size = kSmallestVocab);

  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> tokens) const override;  // end of text: nothing
  int32_t vocab_size() const override { return vocab_size_; }
  int32_t end_of_text() const override { return vocab_size_ - 1; }

 private:
  int32_t vocab_size_;
};

}  // namespace strobe
