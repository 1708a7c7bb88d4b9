#include "strobe/data/encode_text.h"

#include <vector>

namespace strobe {

bool encode_text(const Tokenizer& tokenizer, const LongText& text, SpecialNames special,
                 const std::function<void(std::span<const int32_t>)>& on_tokens,
                 const LongText::Progress& progress) {
  std::vector<std::vector<int32_t>> tokens(LongText::most_parts());
  return text.for_each_part(
      tokenizer,
      [&](std::string_view part, size_t index, int /*thread*/) {
        tokens[index].clear();
        tokenizer.encode_to(part, special, tokens[index]);
      },
      [&](size_t parts, int64_t done) {
        for (size_t i = 0; i < parts; ++i) on_tokens(tokens[i]);
        return !progress || progress(done);
      });
}

}  // namespace strobe
