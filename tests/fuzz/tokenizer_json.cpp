// tokenizer.json.
#include "tests/fuzz/vocabulary.h"

using namespace strobe::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  strobe::BpeVocabulary vocabulary;
  const auto read = [&] { vocabulary = strobe::parse_tokenizer_json(text_of(data, size)); };
  if (!is_refused(read)) use_vocabulary(vocabulary);
  return 0;
}
