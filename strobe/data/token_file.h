#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "strobe/core/atomic_file.h"
#include "strobe/core/mapped_file.h"
#include "strobe/data/token_sequence.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

// A file of tokens: a header of 64 bytes, then the tokens, of 2 bytes where the vocabulary has at
// most 65536, else of 4. All numbers are little-endian; from Python it is
// numpy.memmap(path, dtype="<u2", mode="r", offset=64).
struct TokenFileHeader {
  static constexpr char kMagic[8] = {'S', 'T', 'R', 'B', 'T', 'O', 'K', '1'};

  char magic[8];
  uint64_t tokens;
  uint64_t vocab_size;  // all tokens are below
  uint32_t token_bytes;
  uint32_t zero;
  uint64_t vocabulary;  // fingerprint() of the tokenizer
  uint64_t source;      // what the tokens were made from, whatever the writer wants to know again
  uint64_t zeros[2];
};
static_assert(sizeof(TokenFileHeader) == 64);

// A number that differs, for all that matters, between vocabularies.
uint64_t fingerprint(const Tokenizer& tokenizer);

// A view of the tokens in a file's bytes.
class TokenView {
 public:
  TokenView(const TokenFileHeader& header, std::span<const std::byte> data)
      : header_(header), data_(data) {}

  const TokenFileHeader& header() const { return header_; }
  int64_t size() const { return static_cast<int64_t>(header_.tokens); }
  // Throws Error when the range is not in the file, or a token not in the vocabulary.
  void read(int64_t begin, std::span<int32_t> out) const;

 private:
  TokenFileHeader header_;
  std::span<const std::byte> data_;
};

// The tokens of a whole file in memory, none of which is looked at. Throws Error when the bytes
// are not a token file, or more or fewer than its header says.
TokenView parse_token_file(std::span<const std::byte> file);

// Whether a file begins as a token file does; false where there is none.
bool is_token_file(const std::string& path);

// A token file, memory-mapped: of any length, read where it is needed.
class TokenFile final : public TokenSequence {
 public:
  explicit TokenFile(const std::string& path);  // throws Error, naming the file

  const TokenFileHeader& header() const { return tokens_.header(); }
  int64_t size() const override { return tokens_.size(); }
  void read(int64_t begin, std::span<int32_t> out) const override;
  const std::string& name() const override { return file_.path(); }

 private:
  MappedFile file_;
  TokenView tokens_;
};

// Writes a token file piece by piece; commit() replaces `path` by it as a whole.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& path, const Tokenizer& tokenizer, uint64_t source = 0);

  void write(std::span<const int32_t> tokens);
  int64_t tokens() const { return static_cast<int64_t>(header_.tokens); }
  void commit();

 private:
  AtomicFile file_;
  TokenFileHeader header_;
};

}  // namespace strobe
