#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "strobe/data/long_text.h"

namespace strobe {

// Encodes a text on all threads: on_tokens gets the tokens of tokenizer.encode(text), a part at a
// time. False when `progress`, which may be empty, stopped it.
bool encode_text(const Tokenizer& tokenizer, const LongText& text, SpecialNames special,
                 const std::function<void(std::span<const int32_t>)>& on_tokens,
                 const LongText::Progress& progress = {});

}  // namespace strobe
