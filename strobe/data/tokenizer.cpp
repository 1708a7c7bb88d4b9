#include "strobe/data/tokenizer.h"

#include <limits>

#include "strobe/core/check.h"

namespace strobe {

ByteTokenizer::ByteTokenizer(int64_t vocab_size) : vocab_size_(static_cast<int32_t>(vocab_size)) {
  check(vocab_size >= kSmallestVocab && vocab_size <= std::numeric_limits<int32_t>::max(),
        "vocab_size is ", vocab_size, ", the byte tokenizer needs at least ", kSmallestVocab);
}

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  return {bytes, bytes + text.size()};
}

std::string ByteTokenizer::decode(std::span<const int32_t> tokens) const {
  std::string text;
  for (int32_t token : tokens) {
    check(token >= 0 && token < vocab_size_, "token ", token, ", allowed is 0 to ",
          vocab_size_ - 1);
    if (token < 256) text += static_cast<char>(token);
  }
  return text;
}

}  // namespace strobe
