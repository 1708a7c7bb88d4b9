#include "strobe/data/long_text.h"

#include <span>
#include <vector>

#include "strobe/core/parallel.h"

namespace strobe {
namespace {

constexpr size_t kPartBytes = 256 << 10;  // much more than a word
constexpr size_t kPartsOfAThread = 8;

}  // namespace

size_t LongText::most_parts() { return kPartsOfAThread * static_cast<size_t>(thread_count()); }

bool LongText::for_each_part(
    const Tokenizer& tokenizer,
    const std::function<void(std::string_view part, size_t index, int thread)>& body,
    const std::function<bool(size_t parts, int64_t done)>& after_group) const {
  const size_t most = most_parts();
  std::vector<std::string_view> parts;
  for (size_t done = 0; done < text_.size();) {
    const size_t begin = done;
    parts.clear();
    while (done < text_.size() && parts.size() < most) {
      const std::string_view rest = text_.substr(done);
      parts.push_back(rest.substr(0, tokenizer.find_cut(rest, kPartBytes)));
      done += parts.back().size();
    }
    parallel_for_dynamic(static_cast<int64_t>(parts.size()), [&](int64_t index, int thread) {
      body(parts[static_cast<size_t>(index)], static_cast<size_t>(index), thread);
    });
    if (is_mapped_) release_pages(std::as_bytes(std::span(text_.substr(begin, done - begin))));
    if (!after_group(parts.size(), static_cast<int64_t>(done))) return false;
  }
  return true;
}

}  // namespace strobe
