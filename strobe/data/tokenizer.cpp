#include "strobe/data/tokenizer.h"

#include <array>
#include <filesystem>
#include <limits>

#include "strobe/core/atomic_file.h"
#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"
#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/parse_file.h"

namespace strobe {
namespace {

constexpr std::array<char, 256> kBytes = [] {
  std::array<char, 256> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}();

}  // namespace

std::vector<int32_t> Tokenizer::encode(std::string_view text, SpecialNames special) const {
  std::vector<int32_t> tokens;
  encode_to(text, special, tokens);
  return tokens;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens) const {
  std::string text;
  for (const int32_t token : tokens) text += bytes_of(token);
  return text;
}

std::string Tokenizer::decode_without_special(std::span<const int32_t> tokens) const {
  std::string text;
  for (const int32_t token : tokens) {
    if (!is_special(token)) text += bytes_of(token);
  }
  return text;
}

ByteTokenizer::ByteTokenizer(int64_t vocab_size) : vocab_size_(static_cast<int32_t>(vocab_size)) {
  check(vocab_size >= kSmallestVocab && vocab_size <= std::numeric_limits<int32_t>::max(),
        "vocab_size is ", vocab_size, ", the byte tokenizer needs at least ", kSmallestVocab);
}

void ByteTokenizer::encode_to(std::string_view text, SpecialNames special,
                              std::vector<int32_t>& tokens) const {
  while (true) {
    const size_t at = special == SpecialNames::tokens ? text.find(kEndOfTextName) : text.npos;
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    tokens.insert(tokens.end(), bytes, bytes + std::min(at, text.size()));
    if (at == text.npos) return;
    tokens.push_back(end_of_text());
    text.remove_prefix(at + kEndOfTextName.size());
  }
}

size_t ByteTokenizer::find_cut(std::string_view text, size_t from) const {
  const size_t longest = kEndOfTextName.size() - 1;  // of a name's part on the left
  const size_t begin = from > longest ? from - longest : 0;
  const size_t name = text.substr(0, from + longest).find(kEndOfTextName, begin);
  return name != text.npos && name < from ? name + kEndOfTextName.size()
                                          : std::min(from, text.size());
}

std::string_view ByteTokenizer::bytes_of(int32_t token) const {
  check(token >= 0 && token < vocab_size_, "token ", token, ", allowed is 0 to ", vocab_size_ - 1);
  if (token == end_of_text()) return kEndOfTextName;
  if (token > 255) return {};
  return {&kBytes[static_cast<size_t>(token)], 1};
}

// A BPE without merges.
std::vector<Tokenizer::File> ByteTokenizer::files() const {
  BpeVocabulary vocabulary;
  for (int32_t byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({.name = bpe_name(bytes_of(byte)), .id = byte});
  }
  vocabulary.tokens.push_back({.name = std::string(kEndOfTextName), .id = end_of_text()});
  vocabulary.added.push_back({.content = std::string(kEndOfTextName), .id = end_of_text()});
  return bpe_files(vocabulary);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const auto path = [&](const char* name) {
    return (std::filesystem::path(folder) / name).string();
  };
  const auto exists = [&](const char* name) {
    std::error_code error;
    return std::filesystem::exists(path(name), error);
  };
  if (exists("tokenizer.json")) {
    return parse_file(MappedFile(path("tokenizer.json")), [](std::string_view text) {
      return std::make_unique<BpeTokenizer>(parse_tokenizer_json(text));
    });
  }
  check(exists("vocab.json") && exists("merges.txt"), "the folder '", folder,
        "' has no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt");
  const MappedFile vocab(path("vocab.json")), merges(path("merges.txt"));
  try {
    return std::make_unique<BpeTokenizer>(parse_vocab_and_merges(vocab.text(), merges.text()));
  } catch (const Error& error) {
    throw Error(fmt::format("cannot read the tokenizer in '{}': {}", folder, error.what()),
                error.where());
  }
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder) {
  create_folder(folder);
  for (const Tokenizer::File& content : tokenizer.files()) {
    AtomicFile file((std::filesystem::path(folder) / content.name).string());
    file.write(content.content);
    file.commit();
  }
}

}  // namespace strobe
