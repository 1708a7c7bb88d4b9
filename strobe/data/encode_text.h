#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "strobe/core/mapped_file.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

struct EncodeTextEvents {
  // The tokens of the text, one part after the other.
  std::function<void(std::span<const int32_t> tokens)> tokens;
  // Now and then, with how many bytes of the text are done. False stops the work there.
  std::function<bool(int64_t done)> progress;
};

// The tokens of a text, encoded on all threads; they are those of tokenizer.encode(text). False
// when the work was stopped.
bool encode_text(const Tokenizer& tokenizer, std::string_view text, SpecialNames special,
                 const EncodeTextEvents& events);

// The same of a file of any length: some MiB of it are in memory at a time.
bool encode_file(const Tokenizer& tokenizer, const MappedFile& file, SpecialNames special,
                 const EncodeTextEvents& events);

}  // namespace strobe
