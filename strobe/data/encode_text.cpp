#include "strobe/data/encode_text.h"

#include <vector>

#include "strobe/core/parallel.h"

namespace strobe {
namespace {

constexpr size_t kPartBytes = 256 << 10;  // of text; much more than a word
constexpr size_t kPartsOfAThread = 8;

}  // namespace

bool encode_text(const Tokenizer& tokenizer, std::string_view text, SpecialNames special,
                 const EncodeTextEvents& events) {
  const size_t most_parts = kPartsOfAThread * static_cast<size_t>(thread_count());
  std::vector<std::string_view> parts;
  std::vector<std::vector<int32_t>> tokens(most_parts);
  for (size_t done = 0; done < text.size();) {
    parts.clear();
    while (done < text.size() && parts.size() < most_parts) {
      const std::string_view rest = text.substr(done);
      parts.push_back(rest.substr(0, tokenizer.find_cut(rest, kPartBytes)));
      done += parts.back().size();
    }
    parallel_for_dynamic(static_cast<int64_t>(parts.size()), [&](int64_t index, int /*thread*/) {
      const auto i = static_cast<size_t>(index);
      tokens[i].clear();
      tokenizer.encode_to(parts[i], special, tokens[i]);
    });
    for (size_t i = 0; i < parts.size(); ++i) events.tokens(tokens[i]);
    if (events.progress && !events.progress(static_cast<int64_t>(done))) return false;
  }
  return true;
}

bool encode_file(const Tokenizer& tokenizer, const MappedFile& file, SpecialNames special,
                 const EncodeTextEvents& events) {
  int64_t released = 0;
  const auto progress = [&](int64_t done) {
    release_pages(
        file.bytes().subspan(static_cast<size_t>(released), static_cast<size_t>(done - released)));
    released = done;
    return !events.progress || events.progress(done);
  };
  return encode_text(tokenizer, file.text(), special, {events.tokens, progress});
}

}  // namespace strobe
