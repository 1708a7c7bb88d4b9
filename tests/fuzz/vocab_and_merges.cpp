// vocab.json, a zero byte, merges.txt.
#include <algorithm>

#include "tests/fuzz/vocabulary.h"

using namespace strobe::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const size_t middle = std::min(text.find('\0'), size);
  strobe::BpeVocabulary vocabulary;
  const auto read = [&] {
    vocabulary = strobe::parse_vocab_and_merges(text.substr(0, middle),
                                                text.substr(std::min(middle + 1, size)));
  };
  if (!is_refused(read)) use_vocabulary(vocabulary);
  return 0;
}
