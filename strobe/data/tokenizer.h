#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

// The special token that ends a text, in GPT-2's vocabulary and in those made here.
constexpr std::string_view kEndOfTextName = "<|endoftext|>";

// What a text that holds the name of a special token, such as "<|endoftext|>", encodes to.
enum class SpecialNames : unsigned char {
  tokens,  // the token itself, as in Hugging Face
  text,    // the characters of the name, as of any other text
};

constexpr std::string_view to_text(SpecialNames special) {
  return special == SpecialNames::tokens ? "tokens" : "text";
}

// Text to token ids and back. All functions may be called by any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Any bytes are text: what is not UTF-8 has tokens too, and decode(encode(text)) == text, unless
  // a vocabulary from elsewhere puts a space before texts, or strips it around added tokens.
  std::vector<int32_t> encode(std::string_view text,
                              SpecialNames special = SpecialNames::tokens) const;
  // Adds the tokens of `text` to the end of `tokens`.
  virtual void encode_to(std::string_view text, SpecialNames special,
                         std::vector<int32_t>& tokens) const = 0;

  // The first place from `from` on, which is not 0, at which the text can be cut: the tokens of
  // text[0, cut) and of text[cut, …) are together those of the text. The end if there is none.
  virtual size_t find_cut(std::string_view text, size_t from) const = 0;

  // The bytes of the tokens one after the other; a few of them may end inside a UTF-8 character.
  // Throws Error when an id is outside the vocabulary; one that is missing in it has no bytes.
  std::string decode(std::span<const int32_t> tokens) const;
  std::string decode_without_special(std::span<const int32_t> tokens) const;
  virtual std::string_view bytes_of(int32_t token) const = 0;  // lives as long as the tokenizer
  virtual bool is_special(int32_t token) const = 0;

  virtual int32_t vocab_size() const = 0;  // one more than the largest id
  // Ends a sample, and fills up shorter ones. Throws Error when the vocabulary has none.
  virtual int32_t end_of_text() const = 0;

  // What another program needs to do the same: the files of a folder that Hugging Face's libraries
  // and load_tokenizer() read.
  struct File {
    std::string name, content;
  };
  virtual std::vector<File> files() const = 0;
};

// One token for each byte, the byte's value; end of text is the last id of the vocabulary. The
// smallest vocabulary is 257; ids between 256 and the last, in a larger one, never occur.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kSmallestVocab = 257;

  explicit ByteTokenizer(int64_t vocab_size = kSmallestVocab);

  void encode_to(std::string_view text, SpecialNames special,
                 std::vector<int32_t>& tokens) const override;
  size_t find_cut(std::string_view text, size_t from) const override;
  std::string_view bytes_of(int32_t token) const override;
  bool is_special(int32_t token) const override { return token == end_of_text(); }
  int32_t vocab_size() const override { return vocab_size_; }
  int32_t end_of_text() const override { return vocab_size_ - 1; }
  std::vector<File> files() const override;

 private:
  int32_t vocab_size_;
};

// The tokenizer of a folder: its tokenizer.json, or its vocab.json and merges.txt (GPT-2's
// byte-level BPE). Throws Error, naming the file and what is wrong with it.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);

// Writes the tokenizer's files into a folder, which is made where missing, each as a whole.
void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder);

}  // namespace strobe
