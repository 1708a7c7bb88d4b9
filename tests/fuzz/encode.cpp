// Any bytes as text, for two tokenizers: decoding gives them back, and where a text may be cut the
// parts have the tokens of the whole.
#include <algorithm>

#include "strobe/data/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace strobe;
using testing::require;

namespace {

void use(const Tokenizer& tokenizer, std::string_view text) {
  for (const SpecialNames special : {SpecialNames::tokens, SpecialNames::text}) {
    const std::vector<int32_t> tokens = tokenizer.encode(text, special);
    require(tokenizer.decode(tokens) == text, "decoding gives the text back");
  }
  const std::vector<int32_t> whole = tokenizer.encode(text);
  for (size_t from = 1; from < text.size(); from += 1 + text.size() / 3) {
    const size_t cut = tokenizer.find_cut(text, from);
    require(cut >= from && cut <= text.size(), "a cut lies in the rest of the text");
    std::vector<int32_t> parts = tokenizer.encode(text.substr(0, cut));
    tokenizer.encode_to(text.substr(cut), SpecialNames::tokens, parts);
    require(parts == whole, "the parts have the tokens of the whole");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto bpe = load_tokenizer(STROBE_SOURCE_DIR "/tests/golden/tokenizer");
  static const ByteTokenizer bytes;
  use(*bpe, testing::text_of(data, size));
  use(bytes, testing::text_of(data, size));
  return 0;
}
