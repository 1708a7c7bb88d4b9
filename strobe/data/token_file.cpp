#include "strobe/data/token_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/data/parse_file.h"

namespace strobe {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr uint64_t kMostTokensOf2Bytes = 1 << 16;
constexpr uint64_t kMostTokens = std::numeric_limits<int32_t>::max();

template <class T>
void read_tokens(std::span<const std::byte> bytes, std::span<int32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T token;
    std::memcpy(&token, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<int32_t>(token);
  }
}

std::span<const std::byte> bytes_of(const TokenFileHeader& header) {
  return std::as_bytes(std::span(&header, 1));
}

}  // namespace

// FNV-1a over the tokens, each ended by a byte that no UTF-8 has.
uint64_t fingerprint(const Tokenizer& tokenizer) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3u; };
  for (int32_t token = 0; token < tokenizer.vocab_size(); ++token) {
    for (const char byte : tokenizer.bytes_of(token)) add(static_cast<unsigned char>(byte));
    add(tokenizer.is_special(token) ? 0xfe : 0xff);
  }
  return hash;
}

void TokenView::read(int64_t begin, std::span<int32_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  check(begin >= 0 && count <= size() && begin <= size() - count, "tokens ", begin, " to ",
        begin + count, " of ", size());
  const auto bytes = data_.subspan(static_cast<size_t>(begin) * header_.token_bytes);
  if (header_.token_bytes == 2) {
    read_tokens<uint16_t>(bytes, out);
  } else {
    read_tokens<uint32_t>(bytes, out);
  }
  const auto limit = static_cast<int64_t>(header_.vocab_size);
  const auto wrong =
      std::ranges::find_if(out, [&](int32_t token) { return token < 0 || token >= limit; });
  check(wrong == out.end(), "token ", begin + (wrong - out.begin()), " is ",
        wrong == out.end() ? 0 : static_cast<uint32_t>(*wrong), ", the vocabulary has ", limit);
}

TokenView parse_token_file(std::span<const std::byte> file) {
  TokenFileHeader header;
  check(file.size() >= sizeof(header), "it has ", file.size(),
        " bytes, the header of a token file alone has ", sizeof(header));
  std::memcpy(&header, file.data(), sizeof(header));
  check(std::ranges::equal(header.magic, TokenFileHeader::kMagic),
        "it does not begin as a token file does");
  check(header.vocab_size >= 1 && header.vocab_size <= kMostTokens, "its vocabulary has ",
        header.vocab_size, " tokens, allowed are 1 to ", kMostTokens);
  const uint32_t expected = header.vocab_size <= kMostTokensOf2Bytes ? 2 : 4;
  check(header.token_bytes == expected, "its tokens have ", header.token_bytes, " bytes, those of ",
        header.vocab_size, " have ", expected);
  const std::span<const std::byte> data = file.subspan(sizeof(header));
  check(data.size() % expected == 0 && data.size() / expected == header.tokens, "it has ",
        data.size(), " bytes of tokens, its header says ", header.tokens, " tokens of ", expected,
        " bytes");
  return {header, data};
}

bool is_token_file(const std::string& path) {
  char magic[sizeof(TokenFileHeader::kMagic)] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::ranges::equal(magic, TokenFileHeader::kMagic);
}

TokenFile::TokenFile(const std::string& path)
    : file_(path), tokens_(parse_file(file_, [this](std::string_view) {
        return parse_token_file(file_.bytes());
      })) {}

void TokenFile::read(int64_t begin, std::span<int32_t> out) const {
  parse_file(file_, [&](std::string_view) { tokens_.read(begin, out); });
}

TokenFileWriter::TokenFileWriter(const std::string& path, const Tokenizer& tokenizer,
                                 uint64_t source)
    : file_(path),
      header_{.vocab_size = static_cast<uint64_t>(tokenizer.vocab_size()),
              .vocabulary = fingerprint(tokenizer),
              .source = source} {
  std::ranges::copy(TokenFileHeader::kMagic, header_.magic);
  header_.token_bytes = header_.vocab_size <= kMostTokensOf2Bytes ? 2 : 4;
  file_.write(bytes_of(header_));
}

void TokenFileWriter::write(std::span<const int32_t> tokens) {
  header_.tokens += tokens.size();
  if (header_.token_bytes == 4) {
    file_.write(std::as_bytes(tokens));
    return;
  }
  const std::vector<uint16_t> narrow(tokens.begin(), tokens.end());
  file_.write(std::as_bytes(std::span(narrow)));
}

void TokenFileWriter::commit() {
  file_.overwrite(0, bytes_of(header_));
  file_.commit();
}

}  // namespace strobe
