#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "strobe/core/mapped_file.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

// A text of any length. Of a file, what was read is let go of: some MiB are in memory at a time.
class LongText {
 public:
  LongText(std::string_view text) : text_(text) {}
  LongText(const MappedFile& file) : text_(file.text()), is_mapped_(true) {}

  // Where the work is: `done` bytes of the text so far. False stops it.
  using Progress = std::function<bool(int64_t done)>;

  // Cuts the text into parts that can be encoded one by one, and calls body(part, index, thread)
  // for each on all threads, in groups: index counts those of a group, up to most_parts(), and
  // after_group(parts of it, bytes done so far) follows before the next. False stops the work, and
  // is returned.
  bool for_each_part(
      const Tokenizer& tokenizer,
      const std::function<void(std::string_view part, size_t index, int thread)>& body,
      const std::function<bool(size_t parts, int64_t done)>& after_group) const;
  static size_t most_parts();

 private:
  std::string_view text_;
  bool is_mapped_ = false;
};

}  // namespace strobe
